"""The papers that can be reproduced, by the name that the command knows them by."""

from __future__ import annotations

from collections.abc import Callable

from ...sim.workload import Workload
from ..page import Page
from .das import reproduce_das
from .lab import Lab
from .nemo_rl import reproduce_nemo_rl
from .respec import reproduce_respec
from .seer import reproduce_seer
from .tlt import reproduce_tlt

PAPERS: dict[str, Callable[[Lab, str], Page]] = {
    "das": reproduce_das,
    "tlt": reproduce_tlt,
    "respec": reproduce_respec,
    "nemo-rl": reproduce_nemo_rl,
    "seer": reproduce_seer,
}


def reproduce(
    paper: str, load: Workload, command: str, advance: Callable[[], None] = lambda: None
) -> Page:
    """The paper's page on a trace. command: what to print as having made it; advance is called
    after each simulation. Raises what `simulate` raises.
    """
    return PAPERS[paper](Lab(load, advance), command)
