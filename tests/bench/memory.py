"""Peak memory of simulating a trace of 50 million tokens, without and with a drafter."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRACE = [
    "--rl-steps",
    "8",
    "--prompts",
    "320",
    "--samples",
    "16",
    "--lengths",
    "lognormal:median=750,sigma=1.0",
    "--cap",
    "16384",
    "--seed",
    "0",
]


def main() -> None:
    """Print seconds and peak resident memory of `longtail simulate` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.parquet"
        run([sys.executable, "-m", "longtail", "trace", "synth", "-o", str(path), *TRACE])
        from longtail.traces import open_trace

        tokens = int(open_trace(path).lengths().output_len.sum())
        print(f"\n{tokens / 1e6:.1f} million output tokens (synthetic)")
        for drafter in ("none", "suffix:scope=both"):
            began = time.perf_counter()
            peak = run(
                [
                    sys.executable,
                    "-m",
                    "longtail",
                    "simulate",
                    str(path),
                    "--drafter",
                    drafter,
                    "--budget",
                    "fixed:k=4",
                ]
            )
            took = time.perf_counter() - began
            print(f"simulate --drafter {drafter:20} {took:6.1f} s, peak {peak / 2**20:.2f} GiB")


def run(command: list[str]) -> int:
    """Run a command quietly; its peak resident memory in KiB."""
    script = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, text=True, stdout=subprocess.PIPE
    )
    return int(out.stdout.split()[-1])


if __name__ == "__main__":
    main()
