"""The three kinds of policy by name."""

from __future__ import annotations

import re

from .registry import Registry

DRAFTERS = Registry("drafter", "longtail.policies.drafters")
BUDGETS = Registry("budget", "longtail.policies.budgets")
PLACEMENTS = Registry("placement", "longtail.policies.placement")

BUDGET = re.compile(r"\w+(:[^/]*)?")  # a name and its options; a file's has an ending


def sees_drafts(budget: object) -> bool:
    """Whether a budget looks at the drafts at hand, which are then made before it is asked."""
    return bool(getattr(budget, "sees_drafts", False))


def split_policy(text: str) -> tuple[str, str]:
    """`DRAFTER/BUDGET` in two; the budget is empty where none is named."""
    drafter, slash, budget = text.rpartition("/")
    return (drafter, budget) if slash and BUDGET.fullmatch(budget) else (text.rstrip("/"), "")
