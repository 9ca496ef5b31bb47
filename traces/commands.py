"""`longtail trace ...`: thin verbs over this room; TraceError is left to the caller to print.

Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .step_list import Steps


@click.group()
def trace() -> None:
    """Bring recorded rollouts in, look at them, check them, make some up."""


@trace.group("import")
def import_() -> None:
    """Turn rollouts that somebody recorded into a trace."""


def _import_options(command: Any) -> Any:
    """Options that every importer has."""
    options = [
        click.option("-o", "--output", required=True, help="The trace to write (Parquet)."),
        click.option(
            "--map",
            multiple=True,
            metavar="FIELD=COLUMN,...",
            help="Take FIELD from COLUMN. A+B joins text with '/' and adds numbers; an empty "
            "COLUMN ignores one that bears the field's name.",
        ),
        click.option(
            "--where",
            multiple=True,
            metavar="COLUMN=GLOB",
            help="Import only rows whose COLUMN matches, as in 'problem_id=aime*'.",
        ),
        click.option(
            "--steps",
            metavar="A,B,...",
            help="Number RL steps in this order; * stands for all others, in natural order.",
        ),
        click.option(
            "--cap",
            type=int,
            metavar="TOKENS",
            help="Limit of output tokens; tells, where finish_reason is not known, who was cut. "
            "A column: --map cap=COLUMN.",
        ),
        click.option(
            "--cap-slack",
            type=int,
            default=0,
            metavar="TOKENS",
            help="An output this close to its cap was cut too; for text that was stripped.",
        ),
        click.option("--drop-empty", is_flag=True, help="Leave out rows without output; counted."),
        click.option("--source", help="Who recorded it; by default the column of that name."),
        click.option("--model", help="Which model wrote it; by default the column of that name."),
        click.option("--licence", help="Licence of the data."),
        click.option("--engine", help="Inference engine that wrote it."),
        click.option("--hardware", help="Hardware that it ran on."),
        click.option("--temperature", type=float, help="Sampling temperature."),
        click.option("--top-p", type=float, help="Nucleus sampling's share."),
        click.option("--top-k", type=int, help="Top-k sampling's k."),
        click.option("--note", multiple=True, help="A remark to keep with the trace."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@import_.command("text")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("--tokenizer", metavar="PATH", help="The model's tokenizer.json; needed for text.")
@click.option(
    "--vocab-size", type=int, metavar="N", help="The model's, where above the tokenizer's."
)
@click.option(
    "--end-token",
    metavar="TOKEN",
    help="Appended to outputs that were not cut by length: a token, its id, or 'none'. "
    "By default the tokenizer's usual one, if it has exactly one.",
)
@_import_options
def import_text(
    sources: tuple[str, ...],
    output: str,
    tokenizer: str | None,
    vocab_size: int | None,
    end_token: str | None,
    **options: Any,
) -> None:
    """Import rollouts as text or token ids: JSONL, plain, gzip or zstd; - is standard input.

    Columns that bear these names need no --map: prompt and output (text) or prompt_tokens and
    output_tokens (ids), rl_step, prompt_id, sample, finish_reason, cap, reward, policy_version,
    start_s, end_s, drafted, accepted, source, model, temperature. Without prompt_id, equal prompts
    are one prompt; without sample, samples are numbered as they come; without rl_step, all is RL
    step 0. RL steps with names are numbered in natural order.

    \b
    Two checkpoints, fifty samples per prompt, the prompts of one benchmark only:
      longtail trace import text rollouts.jsonl.gz --tokenizer tokenizer.json \\
        --end-token '<|endoftext|>' --where 'problem_id=aime*' -o trace.parquet \\
        --map prompt_id=problem_id,sample=sample_index,rl_step=checkpoint
    A base model first, then the checkpoints trained from it; output limit per row:
      longtail trace import text evals.jsonl.gz --tokenizer tokenizer.json \\
        --end-token '<|endoftext|>' --steps 'base,*' -o trace.parquet \\
        --map prompt_id=problem_id,rl_step=checkpoint,cap=max_tokens
    Token ids from a pipe:
      zcat ids.jsonl.gz | longtail trace import text - --vocab-size 151936 \\
        --end-token 151643 -o trace.parquet
    """
    from .import_text import import_text as run
    from .progress import progress

    with progress("tokenising") as watch:
        report = run(
            sources,
            output,
            tokenizer=tokenizer,
            vocab_size=vocab_size,
            end_token=end_token,
            options=_options(**options),
            watch=watch,
        )
    _say(output, report)


@import_.command("lengths")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "--prompt-len", type=int, metavar="TOKENS", help="Prompt length where no column tells."
)
@_import_options
def import_lengths(
    sources: tuple[str, ...], output: str, prompt_len: int | None, **options: Any
) -> None:
    """Import output lengths without text: CSV (or JSONL), plain, gzip or zstd; - is standard input.

    Columns: rl_step, prompt_id, sample, prompt_len, output_len; optional: finish_reason, cap,
    reward, policy_version, start_s, end_s, source, model, temperature. Lengths in tokens.

    \b
    Benchmark runs as RL steps, their repeats as samples:
      longtail trace import lengths tokens.csv.gz --prompt-len 512 --drop-empty -o trace.parquet \\
        --map rl_step=run_id,prompt_id=task+problem_id,sample=epoch,output_len=output_tokens
    """
    from .import_lengths import import_lengths as run
    from .progress import progress

    with progress("reading") as watch:
        report = run(
            sources, output, prompt_len=prompt_len, options=_options(**options), watch=watch
        )
    _say(output, report)


@trace.command()
@click.argument("path", metavar="TRACE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def info(path: str, as_json: bool) -> None:
    """Counts, length quantiles, tails, finish reasons and provenance of a trace."""
    from .sample import find_trace
    from .store import open_trace
    from .summary import summarize

    summary = summarize(open_trace(find_trace(path)))
    if as_json:
        click.echo(json.dumps(summary))
        return
    from .show import open_console, show_summary

    show_summary(summary, open_console())


@trace.command()
@click.argument("path", metavar="TRACE")
def check(path: str) -> None:
    """Read a trace to its last token and hold it against every rule of the format."""
    from .check import check_trace
    from .sample import find_trace

    found = check_trace(find_trace(path))
    click.echo(f"{path}: {found.n_rollouts:,} rollouts in order ({found.meta.origin})")


@trace.command()
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
@click.option("--seed", default=0, show_default=True)
@click.option("--rl-steps", default=4, show_default=True)
@click.option("--prompts", default=32, show_default=True, help="Prompts, the same in each RL step.")
@click.option("--samples", default=8, show_default=True, help="Samples per prompt and RL step.")
@click.option(
    "--lengths",
    default="lognormal:median=1200,sigma=1.0",
    show_default=True,
    metavar="LAW",
    help="Output lengths: lognormal:median=,sigma= or pareto:scale=,alpha= (tokens).",
)
@click.option("--cap", default=8192, show_default=True, help="Output limit, tokens.")
@click.option(
    "--group-correlation", default=0.5, show_default=True, help="Of lengths within a prompt."
)
@click.option("--prompt-len", default=256, show_default=True, help="Tokens.")
@click.option("--vocab", default=32000, show_default=True, help="Tokens in the vocabulary.")
@click.option(
    "--reuse",
    default=0.6,
    show_default=True,
    help="Share of segments copied from earlier rollouts of the prompt.",
)
@click.option(
    "--self-reuse",
    default=0.1,
    show_default=True,
    help="Share of segments copied from the rollout's own text.",
)
@click.option("--no-tokens", is_flag=True, help="Lengths only.")
def synth(output: str, lengths: str, no_tokens: bool, **recipe: Any) -> None:
    """Make up a trace, marked synthetic wherever it is shown."""
    from .progress import progress
    from .synth import Recipe, parse_lengths, synthesize

    with progress("writing") as watch:
        synthesize(
            output,
            Recipe(lengths=parse_lengths(lengths), tokens=not no_tokens, **recipe),
            watch=watch,
        )
    click.echo(f"{output}: synthetic trace written")


@trace.command()
@click.argument("path", metavar="TRACE")
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
@click.option("--rl-steps", type=Steps(), metavar="1,3..5", help="Only these RL steps.")
@click.option("--prompt", default="*", metavar="GLOB", help="Only prompts whose id matches.")
@click.option("--prompts", type=click.IntRange(min=1), help="Only the first so many of them.")
@click.option("--samples", type=click.IntRange(min=1), help="Of each prompt and RL step.")
@click.option("--longest", type=click.IntRange(min=1), help="Output tokens of a rollout at most.")
def select(path: str, output: str, **choice: Any) -> None:
    """Write some of a trace's rollouts as a trace of its own.

    \b
    longtail trace select T.parquet --rl-steps 0..3 --prompts 16 --longest 2048 -o small.parquet
    """
    from .sample import find_trace
    from .select import select_rollouts
    from .store import open_trace

    count = select_rollouts(open_trace(find_trace(path)), output, **choice)
    click.echo(f"{output}: {count:,} rollouts")


@trace.command()
@click.argument("paths", metavar="TRACE|FOLDER...", nargs=-1, required=True)
@click.option(
    "--renumber", is_flag=True, help="Samples of engines that did not know of each other."
)
@click.option("-o", "--output", required=True, help="The trace to write (Parquet).")
def join(paths: tuple[str, ...], renumber: bool, output: str) -> None:
    """Put traces of one run together; a folder stands for the traces anywhere in it.

    \b
    longtail trace join rollouts/ -o T.parquet
    """
    from .select import join_traces

    count = join_traces([Path(p) for p in paths], output, renumber=renumber)
    click.echo(f"{output}: {count:,} rollouts")


def _options(
    steps: str | None,
    note: tuple[str, ...],
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    **rest: Any,
) -> Any:
    from .importing import ImportOptions

    return ImportOptions(
        steps=None if steps is None else [s.strip() for s in steps.split(",") if s.strip()],
        sampling={"temperature": temperature, "top_p": top_p, "top_k": top_k},
        notes=note,
        **rest,
    )


def _say(output: str, report: Any) -> None:
    """One line on what was imported, and a warning per oddity on standard error."""
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{output}: {report.rollouts:,} rollouts, {report.rl_steps:,} RL steps, "
        f"{report.prompts:,} prompts, {report.output_tokens:,} output tokens, "
        f"{report.cut_by_length:,} cut by length"
        + (f" ({report.passed_over:,} rows passed over)" if report.passed_over else "")
    )
