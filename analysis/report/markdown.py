"""Markdown pages as blocks: prose with its tables, and pictures standing for themselves.

HTML within Markdown is shown, not obeyed. Nothing is loaded: pictures are those of the folder, and
links to its files become their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from .page import Prose

T = TypeVar("T")

OUTSIDE = ("http://", "https://")


def parse(text: str) -> list[Token]:
    """The tokens of a page."""
    return _renderer().parse(text.replace("\0", ""))


def chapters(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens cut before each heading of the first two levels."""
    found: list[list[Token]] = [[]]
    for token in tokens:
        if token.type == "heading_open" and token.tag in ("h1", "h2") and found[-1]:
            found.append([])
        found[-1].append(token)
    return found


def heading(chapter: Sequence[Token]) -> str:
    """The words that a chapter opens with."""
    if len(chapter) > 1 and chapter[0].type == "heading_open":
        return _words(chapter[1])
    return ""


def links(chapter: Sequence[Token]) -> list[str]:
    """What it links to, pictures left out, in order."""
    inside = [child for token in chapter for child in token.children or ()]
    found = [str(child.attrGet("href")) for child in inside if child.type == "link_open"]
    return [unquote(href) for href in dict.fromkeys(found)]


def paragraphs(chapter: Sequence[Token]) -> list[str]:
    """Its paragraphs as plain words."""
    return [
        _words(chapter[i + 1]) for i, token in enumerate(chapter) if token.type == "paragraph_open"
    ]


def blocks(chapter: Sequence[Token], figure: Callable[[str, str], T]) -> Iterator[Prose | T]:
    """The chapter as prose, and its pictures by `figure(address, title)`."""
    prose: list[Token] = []
    rest = list(chapter)
    while rest:
        picture = _picture(rest)
        if picture is None:
            prose.append(rest.pop(0))
            continue
        if prose:
            yield _render(prose)
            prose = []
        yield figure(unquote(str(picture.attrGet("src"))), picture.content)
        del rest[:3]
    if prose:
        yield _render(prose)


def _picture(tokens: Sequence[Token]) -> Token | None:
    """The picture that a paragraph at the top consists of, if it does."""
    if len(tokens) < 3 or tokens[0].type != "paragraph_open" or tokens[0].level:
        return None
    inside = [c for c in tokens[1].children or () if c.type != "text" or c.content.strip()]
    return inside[0] if len(inside) == 1 and inside[0].type == "image" else None


def _words(inline: Token) -> str:
    return "".join(c.content if c.type != "softbreak" else " " for c in inline.children or ())


def _render(tokens: Sequence[Token]) -> Prose:
    md = _renderer()
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + 1, 6)}"
        if token.children:
            token.children = list(_settle(token.children))
    return Prose(Markup(md.renderer.render(list(tokens), md.options, {})))


def _settle(children: Sequence[Token]) -> Iterator[Token]:
    """Links outside stay; those to files, and pictures within a line, become words."""
    stack: list[bool] = []
    for child in children:
        if child.type == "link_open":
            outside = str(child.attrGet("href")).startswith(OUTSIDE)
            stack.append(outside)
            if outside:
                child.attrSet("rel", "noreferrer noopener")
            else:
                child.tag, child.attrs = "span", {"class": "file"}
        elif child.type == "link_close":
            if not stack.pop():
                child.tag = "span"
        elif child.type == "image":
            child = Token("text", "", 0, content=f"[picture: {child.content}]")
        yield child


def _renderer() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False}).enable("table")
    md.add_render_rule("table_open", lambda *_: '<div class="scroll"><table>')
    md.add_render_rule("table_close", lambda *_: "</table></div>")
    return md
