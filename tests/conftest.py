"""What holds for all tests: no example has a deadline, whatever else the machine does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("longtail", deadline=None)
settings.load_profile("longtail")


@pytest.fixture(scope="session")
def little_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic trace of three RL steps, small enough for whole commands."""
    from longtail.traces.synth import LogNormal, Recipe, synthesize

    path = tmp_path_factory.mktemp("little") / "T.parquet"
    law = LogNormal(20, 0.8)
    synthesize(path, Recipe(rl_steps=3, prompts=3, samples=2, cap=60, vocab=500, lengths=law))
    return path
