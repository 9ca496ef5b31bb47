"""`LengthCheck`: lengths that a dump records, held against the tokens that it gives."""

from __future__ import annotations

from .columns import Record


class LengthCheck:
    """Holds recorded lengths of prompts or outputs against the tokens that there are."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.off = self.checked = 0
        self._recorded = self._found = 0

    def hold(self, record: Record, is_text: bool, *found: int) -> None:
        """Compare with what was found, with or without an appended end token.

        Text tokenised anew may differ, and is counted; token ids may not.
        """
        recorded = record.integer(f"{self.side}_len")
        if recorded is None:
            return
        self.checked += 1
        self._recorded += recorded
        self._found += found[-1]
        if recorded in found:
            return
        if not is_text:
            raise record.error(
                f"{found[0]} token ids in the {self.side}, recorded as {recorded}",
                "the ids are not all of it: write the dump again",
            )
        self.off += 1

    def sentence(self) -> str:
        """What did not agree."""
        return (
            f"{self.off:,} of {self.checked:,} {self.side}s have another number of tokens than was "
            f"recorded ({self._found:,} instead of {self._recorded:,} in all): the text is not all "
            "that the engine saw, or its tokenizer is another"
        )
