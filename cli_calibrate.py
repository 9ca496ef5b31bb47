"""Verbs that turn live runs into a latency model, and predictions into checked ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import check_file, folder_option
from .traces.step_list import Steps


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--bench", "bench", multiple=True, metavar="FILE",
              help="What `vllm bench forward --output-json` wrote; may be repeated.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE")
def calibrate(runs: tuple[str, ...], bench: tuple[str, ...], output: str) -> None:
    """Fit a latency model to live runs, for `--latency FILE` wherever a latency is named.

    RUN is a folder that `longtail run` has written, one of the runs in it, or a step log. All have
    to be of one engine, model and machine. The picture of the fit lies beside FILE.

    \b
    longtail run sample --replay --rl-steps 3 --model dummy --policy suffix/unlimited -o runs
    longtail calibrate runs -o model.json
    longtail simulate sample --drafter suffix --budget das --latency model.json
    """
    from .analysis.calibrate import calibrate as fit
    from .analysis.calibration_file import write_calibration
    from .analysis.forward_bench import read_bench
    from .analysis.observations import read_runs
    from .analysis.show_calibration import show_calibration

    path = Path(output)
    check_file(path, ".json")
    cases = [case for file in bench for case in read_bench(file)]
    made = fit(read_runs(runs), cases)
    pictures = write_calibration(made, path)
    show_calibration(made)
    for written in (path, *pictures):
        click.echo(written)


@click.command()
@click.argument("trace", required=False)
@click.option("--live", multiple=True, metavar="RUN", help="Live runs; may be repeated.")
@click.option("--run", "run_now", is_flag=True, help="Run the policies live first, on TRACE.")
@click.option(
    "--calibration",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Predict all runs with it. By default each policy with one calibrated on all others, "
    "and no speculation with one of all.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, max=1),
    metavar="SHARE",
    help="Exit code 1 if a held-out makespan is missed by more than this, 0.1 for 10 %.",
)
@click.option(
    "--policy",
    multiple=True,
    metavar="DRAFTER[/BUDGET]",
    help="With --run: a policy; may be repeated. No speculation is run beside them.",
)
@click.option("--rl-steps", type=Steps(), metavar="1,3..5", help="With --run: only these RL steps.")
@click.option("--model", default="dummy", show_default=True, help="With --run, as in `run`.")
@click.option("--engine", multiple=True, metavar="NAME=VALUE", help="With --run, as in `run`.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True,
              help="With --run: each policy so often, in turns.")  # fmt: skip
@folder_option("Where runs, calibrations, tables and pictures are kept.")
def validate(
    trace: str | None,
    live: tuple[str, ...],
    run_now: bool,
    calibration: str | None,
    within: float | None,
    output: str | None,
    **running: Any,
) -> None:
    """Predict live runs and say by how much the predictions are off, and where that comes from.

    With TRACE and --run the policies are run live first. A folder that this has written, in place
    of TRACE and alone, is shown and drawn again. Exit code 1 if a replay's tokens are not the
    simulator's.

    \b
    longtail validate sample --run --rl-steps 3 --policy suffix/das --policy suffix/fixed:k=4 \\
        --policy ngram/fixed:k=4 -o validation
    longtail validate --live runs --calibration model.json -o validation
    longtail validate validation
    """
    from .analysis.show_validation import show_validation
    from .analysis.validation import Validation, validate_runs
    from .cli_live import refuse_others

    if trace and not live and not run_now:
        refuse_others("a stored validation", {"trace", "within"})
        stored, folder = Validation.read(Path(trace)), Path(trace)
    else:
        if output is None:
            raise click.UsageError("say where it is to be kept, with -o DIR")
        if not run_now:
            refuse_others("--live alone", {"trace", "live", "calibration", "within", "output"})
        folder = Path(output)
        if "," in str(folder.absolute()):
            raise click.UsageError(f"{output}: a path with a comma cannot name a latency")
        if any(folder.glob("*/steps")):
            raise click.UsageError(
                f"{output} holds live runs: name a folder of the validation's own"
            )
        if (folder / "validation.json").exists():
            raise click.UsageError(f"{output} holds a validation already: name another folder")
        runs = list(live)
        if run_now:
            if trace is None:
                raise click.UsageError("--run needs a TRACE to replay")
            runs.append(str(_run_live(trace, folder / "live", **running)))
        elif not runs:
            raise click.UsageError("name live runs with --live, or run them now with --run")
        stored = validate_runs(runs, folder, calibration=calibration, trace=trace)
    show_validation(stored)
    for written in stored.draw(folder):
        click.echo(written)
    worst, missed = stored.worst_held_out, False
    if within is not None:
        if worst is None:
            raise click.UsageError("--within: no replay here was held out, so nothing was tested")
        missed = abs(worst.error) > within
        if missed:
            click.echo(
                f"{worst.policy}, held out, is off by {worst.error:+.1%}, more than {within:.1%}",
                err=True,
            )
    if missed or not stored.exact:
        sys.exit(1)


def _run_live(
    trace: str,
    folder: Path,
    *,
    policy: tuple[str, ...],
    rl_steps: list[int] | None,
    model: str,
    engine: tuple[str, ...],
    repeats: int,
) -> Path:
    """Replays of each policy into `folder`."""
    from .cli_live import need_vllm
    from .engine.job import Replay, run_jobs
    from .engine.policies import parse_engine
    from .engine.suite import in_turns
    from .traces.sample import find_trace

    need_vllm()
    if not policy:
        raise click.UsageError("name the policies to run, with --policy")
    work = Replay(str(find_trace(trace).absolute()), rl_steps)
    for jobs in in_turns(work, model, policy, parse_engine(engine), repeats):
        run_jobs(jobs, folder, say=lambda line: click.echo(line, err=True))
    return folder
