"""What the importers share: their options, the rows of their sources, and the closing report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .collector import Collector
from .columns import INT32_MAX, Columns, Record, parse_map, parse_where
from .gaps import END_UNKNOWN, NO_STEP, sentences
from .schema import LENGTH, STOP, UNKNOWN, TraceError, TraceMeta
from .sources import Source
from .vocabulary import Vocabulary
from .writer import TraceWriter

if TYPE_CHECKING:
    from .formats import Reading

#: Fields that every importer knows.
FIELDS = (
    *("rl_step", "prompt_id", "sample", "finish_reason", "cap", "reward", "policy_version"),
    *("start_s", "end_s", "source", "model", "temperature"),
)
SHOWN_VALUES = 6

#: Called now and then with the share of the input read so far (None: not known).
Watcher = Callable[[float | None], None]


@dataclass(frozen=True)
class ImportOptions:
    """How to read the sources; `map` and `where` as on the command line.

    `cap` is the output limit in tokens for rows that do not bear their own; where the source does
    not say how an output ended, one within `cap_slack` tokens of its limit counts as cut by it.
    `drop_empty` leaves out rows without output instead of refusing them. What follows goes into the
    trace's metadata.
    """

    map: Sequence[str] = ()
    where: Sequence[str] = ()
    steps: Sequence[str] | None = None
    cap: int | None = None
    cap_slack: int = 0
    drop_empty: bool = False
    source: str | None = None
    model: str | None = None
    engine: str | None = None
    hardware: str | None = None
    licence: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ImportReport:
    """What an import did; rows = rollouts + dropped_empty + passed_over."""

    rows: int
    rollouts: int
    rl_steps: int
    prompts: int
    output_tokens: int
    cut_by_length: int
    end_unknown: int  # rollouts that may have been cut or not
    dropped_empty: int
    passed_over: int
    warnings: tuple[str, ...] = ()


def refuse_own_source(sources: Iterable[str | Path | Source], output: str | Path) -> None:
    """Raise TraceError where the output would take the place of what it is made from."""
    target = Path(output)
    if not target.exists():
        return
    for source in sources:
        path = Path(source.path if isinstance(source, Source) else source)
        if path.exists() and target.samefile(path):
            raise TraceError("the output is one of the sources", file=output, remedy="name another")


class Intake:
    """Iterates over the records of all sources, judges their ends, counts what passes by.

    `reading` is the format of the sources where they do not use our names; what such a dump does
    not tell is counted in `told` and becomes warnings.
    """

    def __init__(
        self,
        sources: Sequence[str | Path | Source],
        fields: Sequence[str],
        options: ImportOptions,
        otherwise: str,
        watch: Watcher | None,
        reading: Reading | None = None,
    ) -> None:
        if options.cap is not None and not 1 <= options.cap <= INT32_MAX:
            raise TraceError(
                f"--cap {options.cap} is not between 1 and {INT32_MAX}",
                remedy="give the limit in tokens",
            )
        if options.cap_slack < 0:
            raise TraceError("--cap-slack is negative", remedy="give tokens, at least 0")
        self.options = options
        self.notes: list[str] = []
        self.rows = self.passed_over = self.dropped_empty = 0
        self.output_tokens = self.cut_by_length = 0
        self._over_cap = self._longest_over = 0
        self._caps: set[int] = set()
        self._sources = [s if isinstance(s, Source) else Source(str(s)) for s in sources]
        self.reading = reading
        self.told: Counter[str] = reading.told if reading else Counter()
        self._columns = Columns(
            fields,
            parse_map(options.map, fields),
            parse_where(options.where),
            reading.format.fields if reading else None,
        )
        self._otherwise, self._watch = otherwise, watch
        self._seen: dict[str, dict[Any, None]] = {"source": {}, "model": {}, "temperature": {}}

    def __iter__(self) -> Iterator[Record]:
        for done, source in enumerate(self._sources):
            first = True
            for number, row in source.rows(self._otherwise):
                if first:
                    self._columns.bind(source, number, row)
                    first = False
                if self._watch and self.rows % 64 == 0:
                    share = source.fraction
                    self._watch(None if share is None else (done + share) / len(self._sources))
                self.rows += 1
                if not self._columns.wanted(row):
                    self.passed_over += 1
                    continue
                record = self._columns.record(source, number, row)
                self.told[NO_STEP] += "rl_step" not in record.bound
                for name, values in self._seen.items():
                    value = record.real(name) if name == "temperature" else record.label(name)
                    if value is not None and value == value:
                        values[value] = None
                yield record
            if first and self.reading is None:
                raise source.error("no rows", remedy="give a file with at least one rollout")

    def drop_empty(self, record: Record, problem: str) -> None:
        """Count an empty output as dropped, or refuse it if that was not asked for."""
        if not self.options.drop_empty:
            raise record.error(problem, "correct it, or leave such rows out with --drop-empty")
        self.dropped_empty += 1

    def finish(self, record: Record, generated: int, ended: bool = False) -> int:
        """The finish code of an output of so many tokens; `ended`: it bears its end token.

        What the source says holds. Where it says nothing and the limit is known, an output that
        reached the limit without its end token was cut, and any other stopped.
        """
        code = record.finish()
        cap = record.integer("cap") if "cap" in record.bound else self.options.cap
        if cap is None:
            return code
        if cap < 1:
            raise record.error(f"cap {cap} is below 1", "give the limit in tokens, or null")
        self._caps.add(cap)
        if generated > cap:
            self._over_cap += 1
            self._longest_over = max(self._longest_over, generated - cap)
        if code != UNKNOWN:
            return code
        return LENGTH if generated >= cap - self.options.cap_slack and not ended else STOP

    def count(self, output_len: int, finish: int) -> None:
        """Count a rollout that was kept."""
        self.output_tokens += output_len
        self.cut_by_length += finish == LENGTH
        self.told[END_UNKNOWN] += finish == UNKNOWN

    def store(
        self, collector: Collector, writer: TraceWriter, vocabulary: Vocabulary, end: int | None
    ) -> ImportReport:
        """Write what was collected, with metadata, and report on it."""
        if not len(collector):
            where = ", ".join(source.name for source in self._sources[:SHOWN_VALUES])
            if not self.rows:
                raise TraceError("no rows", file=where, remedy="name a file that has rollouts")
            raise TraceError(
                f"none of {self.rows} rows is left to import",
                file=where,
                remedy="; ".join(["loosen --where or --drop-empty", *sentences(self.told)]),
            )
        names = collector.number_steps(self.options.steps)
        warnings = self._warnings()
        writer.meta = self._meta(vocabulary, end, names, warnings)
        rl_steps = collector.write(writer)
        return ImportReport(
            self.rows,
            len(collector),
            rl_steps,
            collector.n_prompts,
            self.output_tokens,
            self.cut_by_length,
            self.told[END_UNKNOWN],
            self.dropped_empty,
            self.passed_over,
            tuple(warnings),
        )

    def _warnings(self) -> list[str]:
        warnings = list(self.notes)
        if self.reading:
            warnings += sentences(self.told)
        if self._over_cap:
            warnings.append(
                f"{self._over_cap} outputs are up to {self._longest_over} tokens longer than their "
                "cap, as text can be when tokenised anew; kept as they are"
            )
        if self.dropped_empty:
            warnings.append(f"{self.dropped_empty} rows without output were dropped")
        return warnings

    def _meta(
        self, vocabulary: Vocabulary, end: int | None, names: dict[str, str], warnings: list[str]
    ) -> TraceMeta:
        options = self.options
        sampling = {k: v for k, v in options.sampling.items() if v is not None}
        if self._seen["temperature"]:
            sampling.setdefault("temperature", _one_or_all(list(self._seen["temperature"])))
        if self._caps:
            sampling.setdefault("max_tokens", _one_or_all(sorted(self._caps)))
        choices = [f"only rows where {entry}" for entry in options.where]
        if options.cap_slack and self._caps:
            choices.append(f"outputs within {options.cap_slack} tokens of their cap count as cut")
        return TraceMeta(
            origin="imported",
            source=options.source or _joined(list(self._seen["source"])),
            model=options.model or _joined(list(self._seen["model"])),
            tokenizer=vocabulary.fingerprint,
            vocab_size=vocabulary.size,
            end_token_id=end,
            sampling=sampling,
            engine=options.engine,
            hardware=options.hardware,
            licence=options.licence,
            rl_steps=names,
            notes=(*options.notes, *choices, *warnings),
        )


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _joined(values: list[str]) -> str | None:
    shown = "; ".join(values[:SHOWN_VALUES])
    more = len(values) - SHOWN_VALUES
    return (shown + (f"; and {more} more" if more > 0 else "")) or None
