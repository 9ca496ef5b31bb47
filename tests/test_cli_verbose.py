"""`-v`: what is done is said on standard error, and standard output stays as it is."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longtail.cli import cli

LINE = re.compile(r" *\d+\.\d\d s  (longtail(?:\.\w+)+)  (.+)")
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


def command(*words: object) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


def lines(done: Result) -> list[tuple[str, str]]:
    """(module, message) of each; whatever else is on standard error fails."""
    found = [LINE.fullmatch(line) for line in done.stderr.splitlines() if "Compiling" not in line]
    assert all(found), done.stderr
    return [(line[1], line[2]) for line in found if line]


def test_what_is_read_and_computed_is_said_beside_unharmed_json(little_trace: Path) -> None:
    words = ("simulate", little_trace, "--drafter", "suffix", "--budget", "fixed:k=2", "--json")
    silent, said = command(*words), command("-v", *words)
    results = [json.loads(done.stdout) for done in (silent, said)]
    for result in results:
        del result["wall_s"]
    assert results[0] == results[1] and lines(silent) == []
    told = dict(lines(said))
    assert told["longtail.cli"].startswith(f"simulated {results[0]['forwards']} forwards")
    assert told["longtail.sim.workload"].startswith("profile of suffix:scope=both computed in ")
    opened = [message for name, message in lines(said) if name == "longtail.traces.store"]
    assert opened[0] == f"opened {little_trace}: synthetic, 18 rollouts"
    assert "compiled code is kept in" in told["longtail.options"]


def test_twice_says_each_point_of_a_sweep(little_trace: Path) -> None:
    words = (
        "sweep",
        little_trace,
        "--drafter",
        "suffix",
        "--budget",
        "fixed:k=1..2",
        "--jobs",
        "1",
    )
    once, twice = (
        [message for name, message in lines(command(level, *words)) if name == "longtail.sim.sweep"]
        for level in ("-v", "-vv")
    )
    assert once == twice[:1] == ["simulating 2 points and 1 bounds on 1 cores"]
    assert [message.split()[0] for message in twice[1:]] == ["bounds", "point", "point"]
    assert "budget=fixed:k=2" in twice[-1]


def test_nothing_is_left_of_it(little_trace: Path) -> None:
    logger = logging.getLogger("longtail")
    before = (logger.level, list(logger.handlers))
    command("-vv", "trace", "info", little_trace)
    assert (logger.level, logger.handlers) == before


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.parametrize("refused", [False, True])
def test_colours_on_a_terminal_unless_refused(little_trace: Path, refused: bool) -> None:
    import pty

    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    reader, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "longtail", "-v", "trace", "info", str(little_trace)],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env=environment | ({"NO_COLOR": "1"} if refused else {}),
    )
    os.close(terminal)
    shown = os.read(reader, 65536)
    os.close(reader)
    assert done.returncode == 0 and b"longtail.traces.store" in shown
    assert bool(COLOUR.search(shown)) is not refused
