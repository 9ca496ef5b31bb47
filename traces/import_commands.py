"""`longtail trace import ...`: text, lengths, and one verb per known format of dumps.

Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from .formats import FORMATS, Format

#: Options of single importers; all others are `ImportOptions`.
OWN = ("tokenizer", "vocab_size", "end_token", "prompt_len")


@click.group("import")
def import_() -> None:
    """Turn rollouts that somebody recorded into a trace.

    \b
    longtail trace import auto DIR -o T.parquet --tokenizer tokenizer.json
    """


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


def _text_options(command: Any) -> Any:
    """Options of importers that may meet text."""
    options = [
        click.option(
            "--tokenizer", metavar="PATH", help="The model's tokenizer.json; needed for text."
        ),
        click.option(
            "--vocab-size", type=int, metavar="N", help="The model's, where above the tokenizer's."
        ),
        click.option(
            "--end-token",
            metavar="TOKEN",
            help="Ends outputs: a token, its id, or 'none'. By default the tokenizer's usual one, "
            "if it has exactly one.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@import_.command("text")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@_text_options
@_import_options
def import_text(sources: tuple[str, ...], **options: Any) -> None:
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

    _import("tokenising", run, sources, **options)


@import_.command("lengths")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "--prompt-len", type=int, metavar="TOKENS", help="Prompt length where no column tells."
)
@_import_options
def import_lengths(sources: tuple[str, ...], **options: Any) -> None:
    """Import output lengths without text: CSV (or JSONL), plain, gzip or zstd; - is standard input.

    Columns: rl_step, prompt_id, sample, prompt_len, output_len; optional: finish_reason, cap,
    reward, policy_version, start_s, end_s, source, model, temperature. Lengths in tokens.

    \b
    Benchmark runs as RL steps, their repeats as samples:
      longtail trace import lengths tokens.csv.gz --prompt-len 512 --drop-empty -o trace.parquet \\
        --map rl_step=run_id,prompt_id=task+problem_id,sample=epoch,output_len=output_tokens
    """
    from .import_lengths import import_lengths as run

    _import("reading", run, sources, **options)


def _command_of(form: Format) -> click.Command:
    """The verb that imports dumps of a format."""

    @_import_options
    def run(paths: tuple[str, ...], **options: Any) -> None:
        _import_dump(form, paths, **options)

    if not form.lengths_only:
        run = _text_options(run)
    run = click.argument("paths", nargs=-1, required=True, metavar="PATH...")(run)
    taken = "\n".join(f"{ours:<16}{theirs}" for ours, theirs in form.fields.items())
    needs = " --tokenizer tokenizer.json" if {"prompt", "output"} <= form.fields.keys() else ""
    about = (
        f"Import {form.about}\n\nPATH is a file or a folder of them.\n\n"
        f"\b\nfield           read from\n{taken}\n\n"
        f"Never known: {', '.join(form.unknown)}.\n\n"
        f"\b\nlongtail trace import {form.name} DIR{needs} -o T.parquet\n\nSource: {form.source}."
    )
    return click.command(form.name, help=about, short_help=form.about)(run)


for _form in FORMATS.values():
    import_.add_command(_command_of(_form))


@import_.command("auto")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_text_options
@_import_options
def import_auto(paths: tuple[str, ...], **options: Any) -> None:
    """Recognise a dump by its records' fields, say which format it is, and import it.

    \b
    longtail trace import auto rollouts/ --tokenizer tokenizer.json -o T.parquet
    """
    from .formats.recognise import recognise

    found = recognise(paths)
    click.echo(f"{found.format.name}: {found.why}", err=True)
    if found.format.lengths_only:
        options |= {"tokenizer": None, "end_token": None}
    _import_dump(found.format, paths, **options)


def _import_dump(form: Format, paths: tuple[str, ...], **options: Any) -> None:
    from .formats.importing import import_dump

    _import(f"reading {form.name}", partial(import_dump, form), paths, **options)


def _import(
    doing: str, run: Callable[..., Any], sources: tuple[str, ...], output: str, **options: Any
) -> None:
    """Run an importer, with the options that are its own as they are and the others made one."""
    from .progress import progress

    own = {name: options.pop(name) for name in OWN if name in options}
    with progress(doing) as watch:
        report = run(sources, output, **own, options=_options(**options), watch=watch)
    _say(output, report)


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
    cut = f"{report.cut_by_length:,} cut by length"
    if report.end_unknown:
        some = "" if report.end_unknown == report.rollouts else f"{cut}, of {report.end_unknown:,} "
        cut = f"{some or 'which were cut by length is '}not known"
    click.echo(
        f"{output}: {report.rollouts:,} rollouts, {report.rl_steps:,} RL steps, "
        f"{report.prompts:,} prompts, {report.output_tokens:,} output tokens, {cut}"
        + (f" ({report.passed_over:,} rows passed over)" if report.passed_over else "")
    )
