"""From a trainer's dump to an advice and a report: seconds and memory of the two commands.

The dump is synthetic: 10,000 rollouts as verl's trainer writes them, with heavy-tailed lengths, of
which parts come again. Its text is words that are a token each, which tokenises faster than prose.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from longtail.traces import open_trace
from longtail.traces.synth import LogNormal, Recipe, synthesize

from .memory import run

RECIPE = Recipe(
    rl_steps=5, prompts=250, samples=8, lengths=LogNormal(700, 0.8), cap=8192, vocab=32_000
)


def main() -> None:
    """Write a dump, then print what `trace import` and `advise --report` take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = write_dump(folder)
        print(f"{tokens / 1e6:.1f} million output tokens (synthetic)")
        trace, total = folder / "T.parquet", 0.0
        for words in (
            ["trace", "import", "auto", folder / "dump", "--tokenizer", folder / "tokenizer.json",
             "--end-token", "<end>", "--cap", RECIPE.cap, "-o", trace],
            ["advise", trace, "-o", folder / "advice", "--report", folder / "report.html"],
        ):  # fmt: skip
            began, before = time.perf_counter(), os.times()
            peak = run([sys.executable, "-m", "longtail", *map(str, words)])
            took, after = time.perf_counter() - began, os.times()
            busy = after.children_user + after.children_system
            busy -= before.children_user + before.children_system
            total += took
            verb = " ".join(map(str, words[: 3 if words[0] == "trace" else 1]))
            print(f"{verb:18} {took:5.1f} s, {busy:5.1f} s of cores, peak {peak / 2**20:.2f} GiB")
        print(f"{'both':18} {total:5.1f} s")


def write_dump(folder: Path) -> int:
    """`dump/STEP.jsonl` and tokenizer.json; output tokens in all."""
    synthesize(folder / "S.parquet", RECIPE)
    words = {f"w{token}": token for token in range(RECIPE.vocab)}
    words["<end>"] = RECIPE.vocab
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    trace, total = open_trace(folder / "S.parquet"), 0
    (folder / "dump").mkdir()
    for step in trace.rl_steps:
        lengths, tokens = trace.lengths([step]), trace.tokens([step])
        with (folder / "dump" / f"{step + 1}.jsonl").open("w") as file:
            for i in range(len(lengths)):
                output = tokens.output(i).tolist()
                prompt = tokens.prompt(i).tolist()
                score = float(i % 2)
                row = {"input": _text(prompt), "output": _text(output), "gts": "1",
                       "score": score, "step": step + 1}  # fmt: skip
                file.write(json.dumps(row) + "\n")
                total += len(output)
    return total


def _text(tokens: list[int]) -> str:
    return " ".join(f"w{token}" for token in tokens)


if __name__ == "__main__":
    main()
