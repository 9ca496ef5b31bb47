"""Token ids as text, where the vocabulary that a trace names is at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ...traces.schema import TraceMeta
from ...traces.vocabulary import read_tokenizer
from .folder import Folder, Item

Decode = Callable[[list[int]], str]


class Tokenizers:
    """tokenizer.json files by their fingerprint: those of a folder, and one named by the user."""

    def __init__(self, folder: Folder, named: Path | None = None) -> None:
        self._paths: dict[str, Path] = {}
        for item in folder.find("json", where=_is_tokenizer):
            try:
                self._paths[_fingerprint(item.path)] = item.path
            except OSError as error:
                folder.refuse(item, error)
                continue
            folder.take(item, "tokenizer")
        if named is not None:
            path, raw = read_tokenizer(named)
            self._paths[hashlib.sha256(raw).hexdigest()] = path

    def decoder(self, meta: TraceMeta) -> Decode | None:
        """For the trace's tokens; None where its vocabulary is not here. Raises ValueError for a
        tokenizer that is none.
        """
        named = meta.tokenizer or {}
        words = named.get("vocabulary")
        if isinstance(words, list):
            return lambda ids: " ".join(str(words[i]) if i < len(words) else f"[{i}]" for i in ids)
        path = self._paths.get(str(named.get("sha256")))
        if path is None:
            return None
        from tokenizers import Tokenizer

        try:
            made = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"not a tokenizer ({error})") from None
        return lambda ids: str(made.decode(ids, skip_special_tokens=False))


def _is_tokenizer(item: Item) -> bool:
    content = item.content
    return isinstance(content, dict) and content.keys() >= {"model", "added_tokens"}


def _fingerprint(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
