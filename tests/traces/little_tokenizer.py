"""A tokenizer whose words are `w0` ... `w99`."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = 100


def make_tokenizer(path: Path, *specials: str) -> Path:
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens([AddedToken(s, special=True) for s in specials])
    tokenizer.enable_truncation(4)  # importers must undo it
    tokenizer.save(str(path))
    return path
