"""Full validation of a stored trace, row group by row group."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .schema import TraceError, check_rows, first_repeat
from .store import Trace, open_trace


def check_trace(path: str | Path) -> Trace:
    """Read every row and hold it against the schema's rules; gives the trace, or raises TraceError.

    Keys are unique, lengths are those of the lists, token ids lie in the vocabulary, outputs are
    not empty, finish reasons are known, drafts are consistent, all rows have tokens or none has.
    """
    trace = open_trace(path)
    has_tokens = trace.has_tokens
    prompts: dict[str, int] = {}
    keys = []
    for first, table in trace.groups():
        check_rows(table, vocab_size=trace.meta.vocab_size, file=path, first_row=first + 1)
        valid = table.column("output_tokens").is_valid().to_numpy()
        if (odd := valid != has_tokens).any():
            raise TraceError(
                "some rollouts have tokens and some have none",
                file=path,
                row=first + int(odd.argmax()) + 1,
                remedy="write two traces",
            )
        ids = table.column("prompt_id").to_pylist()
        codes = [prompts.setdefault(prompt_id, len(prompts)) for prompt_id in ids]
        rl_step, sample = (table.column(name).to_numpy() for name in ("rl_step", "sample"))
        keys.append(np.array([rl_step, codes, sample], dtype=np.int32))
    if repeat := first_repeat(*np.concatenate(keys, axis=1)):
        raise TraceError(
            f"same key as row {repeat[0] + 1}",
            file=path,
            row=repeat[1] + 1,
            remedy="keep one of the two",
        )
    return trace
