"""A report's page as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """A page as a browser reads it: its elements, and its tables' cells (shown, value)."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[tuple[str, str | None]]]] = []
        self.text = ""
        self._open: list[str] = []
        self._cell: list[str] | None = None
        self.feed(page.decode())
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell, self._value = [], dict(attrs).get("data-v")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(("".join(self._cell), self._value))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell.append(data)

    def with_columns(self, *names: str) -> list[pd.DataFrame]:
        """Tables that have these columns, by the values that they are sorted by."""
        found = []
        for head, *rows in self.tables:
            heads = [shown for shown, _ in head]
            if set(names) <= set(heads):
                cells = [[shown if value is None else value for shown, value in r] for r in rows]
                found.append(pd.DataFrame(cells, columns=heads))
        return found
