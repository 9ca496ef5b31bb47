"""What an engine can be told to do: one choice of drafter, budget, placement and concurrency, who
carries it out (vLLM itself or longtail's plug-in), and the words that turn it on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...engine.settings import LiveSettings
from ...policies.components import BUDGETS, DRAFTERS, PLACEMENTS
from ...policies.registry import ComponentError, brief, spec_of
from ...sim.grid import expand
from ...sim.simulate import Setup
from ..budgets import FIXED, NONE, default_budgets

VLLM, LONGTAIL = ENGINES = ("vllm", "longtail")
LONGEST = 16  # draft tokens; vLLM's num_speculative_tokens for `suffix` in engine/policies.py
NGRAM = f"ngram:k={LONGEST}"
STOCK = (NGRAM, f"suffix:scope=all,max={LONGEST}", f"suffix:scope=own,max={LONGEST}")
"""What vLLM drafts with by itself: `ngram`, and `suffix` with its cache of responses and without
one. (vLLM's cache also holds what runs beside, which is not simulated.)"""
CACHED = 10_000  # responses that vLLM's cache holds at most: suffix_decoding_max_cached_requests
PLAIN = ("fixed", "unlimited")  # budgets of one draft length for all
MODEL = "YOUR-DRAFT-MODEL"
OFF, LOOKUP, STOCK_OTHER, PLAIN_BUDGET, ANY_BUDGET = range(5)
"""The simpler first: nothing, vLLM's n-grams, what else vLLM has, the plug-in with one draft length
for all, the plug-in with a budget that decides."""


@dataclass(frozen=True)
class Choice:
    """What could be turned on. `engine`: who drafts; `changed`: other limits than asked for."""

    drafter: Any
    budget: Any
    placement: Any
    max_num_seqs: int | None
    engine: str = VLLM
    changed: bool = False

    @property
    def speculates(self) -> bool:
        """Whether anything is ever drafted."""
        return self.k > 0

    @property
    def k(self) -> int:
        """Draft tokens at most."""
        longest: int = self.drafter.longest_draft
        if self.budget.name == "fixed":
            return min(longest, self.budget.k)
        if self.budget.name == "schedule":
            return min(longest, max(k for _, _, k in self.budget.entries))
        return longest

    @property
    def rank(self) -> tuple[int, bool]:
        """How much there is to turn on; the simpler compare less."""
        if not self.speculates:
            return OFF, self.changed
        if self.engine == VLLM:
            simple = self.drafter.name == "ngram" and self.budget.name != "schedule"
            return (LOOKUP if simple else STOCK_OTHER), self.changed
        plain = self.budget.name in PLAIN
        return (PLAIN_BUDGET if plain else ANY_BUDGET), self.changed

    @property
    def name(self) -> str:
        """For people, in few words."""
        if not self.speculates:
            words = "no speculation"
        elif self.engine == VLLM:
            words = f"vLLM's {self._method} with {self._length}"
        else:
            words = f"{brief(self.drafter)}/{brief(self.budget)}"
        if self.changed:
            words += f", max_num_seqs={self.max_num_seqs}"
            words += "" if self.placement.name == "fcfs" else f", {brief(self.placement)}"
        return words

    @property
    def _method(self) -> str:
        if self.drafter.name == "learned":
            return f"draft model ({brief(self.drafter)})"
        return self.drafter.name + (" without a cache" if _own_text(self.drafter) else "")

    @property
    def _length(self) -> str:
        if self.budget.name == "schedule":
            return f"drafts by batch size ({self.budget.ranges})"
        return f"{self.k} draft token{'' if self.k == 1 else 's'}"

    def setup(self, base: Setup) -> Setup:
        """As it is simulated: `base` has the latency and the other limits."""
        limits = replace(base.limits, max_num_seqs=self.max_num_seqs)
        return replace(
            base, drafter=self.drafter, budget=self.budget, placement=self.placement, limits=limits
        )

    @property
    def row(self) -> dict[str, Any]:
        """The choice as columns."""
        return {
            "name": self.name,
            "drafter": spec_of(self.drafter),
            "budget": spec_of(self.budget),
            "placement": spec_of(self.placement),
            "max_num_seqs": self.max_num_seqs,
            "engine": self.engine,
        }

    def exact(self) -> Choice:
        """The same with drafts just as vLLM makes them: which of two texts `suffix` drafts from is
        decided by as many tokens as it may draft.
        """
        if self.engine == VLLM and self.drafter.name == "suffix" and self.speculates:
            longest = BUDGETS.make(f"fixed:k={self.k}")
            return replace(self, drafter=replace(self.drafter, max=self.k), budget=longest)
        return self

    def turn_on(self, latency: Any) -> dict[str, Any]:
        """`vllm_args` (engine arguments), `policy` (a policy file's keys, or None), `command`.

        latency: what a budget that asks is told. Raises ComponentError for what no engine can do.
        """
        args: dict[str, Any] = {}
        if self.max_num_seqs is not None:
            args["max_num_seqs"] = self.max_num_seqs
        policy = None
        if self.speculates and self.engine == VLLM:
            config = speculative_config(self.drafter, self.budget)
            if config is None:
                raise ComponentError(f"vLLM has no such method of its own: {self.name}")
            args["speculative_config"] = config
        elif self.engine == LONGTAIL:
            parts = {"drafter": self.drafter, "budget": self.budget, "placement": self.placement,
                     "latency": latency}  # fmt: skip
            policy = {name: spec_of(part) for name, part in parts.items()}
            LiveSettings.of(policy)
        words = ["vllm serve MODEL"] if policy is None else [f"{ENVIRONMENT} vllm serve MODEL"]
        for name, value in args.items():
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            words.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
        return {"vllm_args": args, "policy": policy, "command": " ".join(words)}


POLICY_FILE = "policy.yaml"
ENVIRONMENT = f"LONGTAIL_POLICY={POLICY_FILE}"


def speculative_config(drafter: Any, budget: Any) -> dict[str, Any] | None:
    """vLLM's own speculative_config (vllm/config/speculative.py) for the same drafts, or None."""
    config: dict[str, Any]
    if drafter.name == "ngram":
        config = {"method": "ngram", "prompt_lookup_min": drafter.min,
                  "prompt_lookup_max": drafter.max}  # fmt: skip
    elif drafter.name == "suffix" and _stock_suffix(drafter):
        config = {
            "method": "suffix",
            "suffix_decoding_max_tree_depth": drafter.depth,
            "suffix_decoding_max_spec_factor": drafter.factor,
            "suffix_decoding_min_token_prob": drafter.min_prob,
        }
        if _own_text(drafter):
            config["suffix_decoding_max_cached_requests"] = 0
    elif drafter.name == "learned" and not drafter.trees:
        config = {"model": MODEL}
    else:
        return None
    if budget.name == "schedule":
        if drafter.name == "suffix":
            return None  # vLLM's suffix proposer asserts one length
        config["num_speculative_tokens_per_batch_size"] = [list(each) for each in budget.entries]
    elif budget.name not in PLAIN:
        return None
    longest = Choice(drafter, budget, None, None).k
    return {**config, "num_speculative_tokens": longest} if longest else None


def _stock_suffix(drafter: Any) -> bool:
    whole = drafter.window == 0 and drafter.paths == 1
    return whole and drafter.scope in ("all", "own")


def _own_text(drafter: Any) -> bool:
    return drafter.name == "suffix" and drafter.scope == "own"


def off(placement: str = "fcfs", max_num_seqs: int | None = None, changed: bool = False) -> Choice:
    """No speculation."""
    none = DRAFTERS.make("none"), BUDGETS.make(NONE), PLACEMENTS.make(placement)
    return Choice(*none, max_num_seqs, VLLM, changed)


def budgets_of(specs: Sequence[str]) -> list[Any]:
    """The budgets asked for, or all that an engine can keep. Raises ComponentError for others."""
    if specs:
        asked = [BUDGETS.make(one) for spec in specs for one in expand(spec)]
        return [LiveSettings(budget=budget).budget for budget in asked]
    made = [BUDGETS.make(spec) for spec in default_budgets() if spec != NONE]
    return [b for b in made if getattr(b, "in_engine", True) and b.name != "schedule"]


def lengths_of(drafter: Any, budgets: Sequence[Any]) -> list[Any]:
    """Of these the budgets with one draft length for all, each length once; FIXED if there are
    none.
    """
    plain = [b for b in budgets if b.name in PLAIN]
    plain = plain or [BUDGETS.make(spec) for spec in FIXED]
    by_length = {min(getattr(b, "k", 0), drafter.longest_draft): b for b in reversed(plain)}
    return [by_length[k] for k in sorted(by_length) if k]


def placements() -> list[Any]:
    """Those that a live engine follows: first come, first served, and what says so."""
    classes = PLACEMENTS.classes
    return [
        PLACEMENTS.make(name)
        for name in sorted(classes, key=lambda name: name != "fcfs")
        if name == "fcfs" or getattr(classes[name], "in_engine", False)
    ]
