"""Pictures for the page: SVG rebuilt from what is known to be harmless, in the page's colours.

A figure drawn here and an SVG file that lay in the folder go the same way: only shapes, text and
their looks are taken over, by name, so that nothing in a file can run, load or reach outside. Black
and white become the page's ink and paper, which follow the reader's scheme.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure as Drawing

from ..style import RC

ELEMENTS = {
    "svg", "g", "defs", "path", "use", "clipPath", "rect", "line", "circle", "ellipse", "polygon",
    "polyline", "text", "tspan", "title", "desc",
}  # fmt: skip
ATTRIBUTES = {
    "id", "d", "x", "y", "width", "height", "viewBox", "transform", "points", "r", "cx", "cy", "rx",
    "ry", "x1", "x2", "y1", "y2", "clip-path", "clip-rule", "fill", "fill-rule", "fill-opacity",
    "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "opacity", "text-anchor", "font-size", "font-weight",
    "font-style", "dx", "dy",
}  # fmt: skip
STYLES = ATTRIBUTES | {"stroke-miterlimit", "font", "paint-order"}
COLOURS = {
    "#000000": "currentColor", "black": "currentColor", "#ffffff": "var(--paper)",
    "white": "var(--paper)", "#dddddd": "var(--line)", "#555555": "var(--muted)",
    "#bbbbbb": "var(--faint)", "#cccccc": "var(--line)", "#0072b2": "var(--blue)",
    "#fff3cd": "var(--mark)",
}  # fmt: skip
PLAIN = re.compile(r"[\w\s.,%#()+\-'\"]*")  # of a style: no address, no comment
INSIDE = re.compile(r"url\(#([\w.:-]+)\)")
LONG = re.compile(r"-?\d+\.\d{3,}")
POINTS = {"d", "points"}
AS_TEXT: Any = {"svg.fonttype": "none", "text.parse_math": False}
SCALE = 1.2  # pixels of a point, where there is room
MOST_ELEMENTS = 100_000


def draw(figure: Callable[[], Drawing], name: str) -> Markup:
    """A figure of `analysis/`, inline; `name` keeps its ids apart from other pictures'."""
    stream = io.StringIO()
    with matplotlib.rc_context(RC | AS_TEXT), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the measuring font lacks
        figure().savefig(stream, format="svg", metadata={"Date": None})
    return inline(stream.getvalue(), name)


def inline(svg: str, name: str) -> Markup:
    """An SVG file's picture, inline. Raises ValueError for what is none, or has entities."""
    if "<!ENTITY" in svg:
        raise ValueError("an SVG with entities")
    try:
        found = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"not an SVG ({error})") from None
    if sum(1 for _ in found.iter()) > MOST_ELEMENTS:
        raise ValueError(f"an SVG of more than {MOST_ELEMENTS:,} elements")
    made = _rebuild(found, name)
    if made is None or made.tag != "svg":
        raise ValueError("not an SVG")
    box = made.get("viewBox")
    if not box:
        raise ValueError("an SVG without a viewBox")
    width = float(box.split()[2]) * SCALE
    made.attrib = {
        "viewBox": box, "role": "img", "fill": "currentColor",
        "style": f"width:{width:.0f}px;min-width:min({width:.0f}px,42rem)",
    }  # fmt: skip
    return Markup(ElementTree.tostring(made, encoding="unicode"))


def raster(png: bytes, title: str) -> Markup:
    """A PNG file's picture, on white paper as it was drawn."""
    data = base64.b64encode(png).decode()
    return Markup('<img class="raster" alt="{}" src="data:image/png;base64,{}">').format(
        title, data
    )


def label(picture: Markup, title: str) -> Markup:
    """The picture, with its name for those who do not see it."""
    named = f'role="img" aria-label="{escape(title)}"'
    return Markup(str(picture).replace('role="img"', named, 1))


def _rebuild(old: ElementTree.Element, name: str) -> ElementTree.Element | None:
    """The element and what is below it, of known elements and attributes only."""
    tag = str(old.tag).rpartition("}")[2]
    if tag not in ELEMENTS:
        return None
    new = ElementTree.Element(tag, _attributes(old.attrib, name))
    new.text = old.text if tag in {"text", "tspan", "title", "desc"} else None
    for child in old:
        kept = _rebuild(child, name)
        if kept is not None:
            kept.tail = child.tail if tag in {"text", "tspan"} else None
            new.append(kept)
    return new


def _attributes(old: Mapping[str, str], name: str) -> dict[str, str]:
    kept = {}
    for key, value in old.items():
        plain = key.rpartition("}")[2]
        if plain == "href":
            if re.fullmatch(r"#[\w.:-]+", value):
                kept["href"] = f"#{name}-{value[1:]}"
        elif plain == "style":
            style = _style(value, name)
            if style:
                kept["style"] = style
        elif plain == "id":
            if re.fullmatch(r"[\w.:-]+", value):
                kept["id"] = f"{name}-{value}"
        elif plain in ATTRIBUTES and key == plain:
            checked = _value(value, name)
            if checked is not None:
                kept[key] = LONG.sub(_short, checked) if key in POINTS else checked
    return kept


def _style(value: str, name: str) -> str:
    kept = []
    for part in value.split(";"):
        key, _, words = (text.strip() for text in part.partition(":"))
        if key == "font":  # size and weight; the family is the page's
            size = re.search(r"[\d.]+px", words)
            kept += [f"font-size:{size[0]}"] if size else []
            kept += ["font-weight:bold"] if re.search(r"\b(bold|700)\b", words) else []
        elif key in STYLES:
            checked = _value(words, name)
            if checked is not None:
                kept.append(f"{key}:{checked}")
    return ";".join(kept)


def _value(value: str, name: str) -> str | None:
    """A value that can do no harm, in the page's colours; None for another."""
    inside = INSIDE.fullmatch(value.strip())
    if inside:
        return f"url(#{name}-{inside[1]})"
    if not PLAIN.fullmatch(value) or "url" in value.lower():
        return None
    return COLOURS.get(value.strip().lower(), value)


def _short(found: re.Match[str]) -> str:
    """A coordinate to a hundredth of a point."""
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
