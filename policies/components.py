"""The three kinds of policy by name."""

from __future__ import annotations

from .registry import Registry

DRAFTERS = Registry("drafter", "longtail.policies.drafters")
BUDGETS = Registry("budget", "longtail.policies.budgets")
PLACEMENTS = Registry("placement", "longtail.policies.placement")
