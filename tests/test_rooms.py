"""Imports run one way, and the simulator needs neither torch nor vLLM."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {  # room -> what it may import
    "traces": {"traces"},
    "policies": {"traces", "policies"},
    "sim": {"traces", "policies", "sim"},
    "engine": {"traces", "policies", "engine"},
    "analysis": {"traces", "policies", "sim", "engine", "analysis"},
}
FOREIGN = {"policies": {"simpy", "torch", "vllm"}, "sim": {"torch", "vllm"}, "traces": {"torch"}}


def imported(path: Path) -> set[tuple[str, str]]:
    """(kind, name): project rooms and foreign top-level packages that a file imports."""
    found = set()
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {("foreign", alias.name.split(".")[0]) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "").split(".")
            if node.level:
                parts = (*package[: len(package) - node.level + 1], *filter(None, names))
                found |= {("room", parts[0])} if parts else {("room", a.name) for a in node.names}
            elif names[0] == "longtail" and len(names) > 1:
                found.add(("room", names[1]))
            else:
                found.add(("foreign", names[0]))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for kind, name in imported(path):
            if kind == "room":
                assert name in ROOMS[room], f"{path.relative_to(ROOT)} imports {name}"
            else:
                assert name not in FOREIGN.get(room, set()), f"{path} imports {name}"


def test_the_command_needs_no_heavy_package() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'vllm', 'transformers'): sys.modules[name] = None\n"
        "import longtail, longtail.cli, longtail.analysis.demo, longtail.engine\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, longtail.cli\n"
        "heavy = {'numba', 'pandas', 'matplotlib', 'pyarrow', 'simpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
