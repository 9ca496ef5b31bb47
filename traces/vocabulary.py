"""The vocabulary that token ids belong to: a tokenizer.json, or only a size and an end token."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .schema import TraceError

#: What tokenizers usually call their end token; one that has exactly one of these needs no asking.
END_TOKENS = (
    "<|endoftext|>",
    "</s>",
    "<eos>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)
NO_END_TOKEN = "none"
MOST_TOKENS = 2**31  # ids are stored in 32 bits


def read_tokenizer(path: Path) -> tuple[Path, bytes]:
    """A model's tokenizer.json, named or its folder named: where it is and what is in it.

    Raises TraceError.
    """
    if path.is_dir():
        path = path / "tokenizer.json"
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise TraceError(
            f"the tokenizer cannot be read ({error.strerror})",
            file=path,
            remedy="give the path of the model's tokenizer.json",
        ) from None


class Vocabulary:
    """Tokenises text without adding special tokens, truncating or padding.

    `size` is the number of token ids (None: not known), `fingerprint` {"name", "sha256"}.
    """

    def __init__(self, tokenizer: str | Path | None, size: int | None = None) -> None:
        if size is not None and not 1 <= size <= MOST_TOKENS:
            raise TraceError(
                f"--vocab-size {size} is not between 1 and {MOST_TOKENS}",
                remedy="give the model's number of token ids",
            )
        self.fingerprint: dict[str, Any] | None = None
        self.size = size
        self._tokenizer: Any = None
        if tokenizer is not None:
            self._load(Path(tokenizer))

    @property
    def has_tokenizer(self) -> bool:
        """Whether text can be tokenised."""
        return self._tokenizer is not None

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids, int32, of each text."""
        encode = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)
        batch = encode(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in batch]

    def end_token(self, asked: str | None) -> int | None:
        """The id of the end token asked for (its text, its id or "none"), or of the usual one.

        Raises TraceError where the text is no token, or nothing was asked and it is not clear.
        """
        if asked == NO_END_TOKEN:
            return None
        specials = self._specials()
        if asked is not None:
            found = self._tokenizer.token_to_id(asked) if self.has_tokenizer else None
            if found is None and asked.isdecimal() and len(asked) <= len(str(MOST_TOKENS)):
                found = int(asked)
            if found is None or found >= (self.size or MOST_TOKENS):
                known = f"; special tokens: {', '.join(specials)}" if specials else ""
                raise TraceError(
                    f"--end-token {asked!r} is not in the vocabulary",
                    remedy=f"give a token, its id or 'none'{known}",
                )
            return int(found)
        usual = [token for token in END_TOKENS if token in specials]
        if len(usual) == 1:
            return specials[usual[0]]
        seen = f"it could be {' or '.join(usual)}" if usual else "no usual one in the vocabulary"
        raise TraceError(
            f"which token ends an output is not clear ({seen})",
            remedy="give --end-token TOKEN, its id, or 'none' to append none",
        )

    def _specials(self) -> dict[str, int]:
        if not self.has_tokenizer:
            return {}
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: int(i) for i, token in added.items()}

    def _load(self, path: Path) -> None:
        from tokenizers import Tokenizer

        path, raw = read_tokenizer(path)
        try:
            self._tokenizer = Tokenizer.from_buffer(raw)
        except Exception as error:  # tokenizers raises bare Exception
            raise TraceError(
                f"not a tokenizer ({error})",
                file=path,
                remedy="give the path of the model's tokenizer.json",
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        if self.size is not None and self.size < size:
            raise TraceError(
                f"--vocab-size {self.size} is below the tokenizer's {size} tokens",
                file=path,
                remedy="leave it out or give the model's",
            )
        self.size = self.size or size
        name = path.parent.name if path.name == "tokenizer.json" else path.stem
        self.fingerprint = {"name": name, "sha256": hashlib.sha256(raw).hexdigest()}
