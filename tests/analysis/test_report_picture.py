"""Pictures on the page: only shapes and words are taken over, in the page's colours."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_folders import RUN, hostile_svg

from longtail.analysis.report.picture import ATTRIBUTES, ELEMENTS, draw, inline, label, raster
from longtail.analysis.style import new_figure

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" {}>{}</svg>'
BOX = 'viewBox="0 0 20 10"'


def figure():
    made, (axes,) = new_figure("Costs $5 & <b>", "T.parquet (SYNTHETIC)")
    axes.plot([0, 1, 2], [1, 0.5, 2], label="a<b> $x^2$")
    axes.legend()
    return made


def test_a_drawn_figure_keeps_its_words_and_takes_the_pages_colours() -> None:
    picture = draw(figure, "f")
    words = "".join(ElementTree.fromstring(picture).itertext())
    assert "Costs $5 & <b>" in words and "a<b> $x^2$" in words and "SYNTHETIC" in words
    assert "currentColor" in picture and "var(--paper)" in picture and "var(--line)" in picture
    assert not re.search(r"#000000|#ffffff|http|<style|<metadata", picture)


def test_ids_of_two_pictures_do_not_meet() -> None:
    one, two = (set(re.findall(r' id="([^"]+)"', draw(figure, name))) for name in "ab")
    assert one and two and not one & two
    for name, ids in (("a", one), ("b", two)):
        found = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', draw(figure, name))
        assert found and {a or b for a, b in found} <= ids


def test_the_same_figure_the_same_bytes() -> None:
    assert draw(figure, "f") == draw(figure, "f")


def test_nothing_hostile_is_taken_over() -> None:
    made = inline(hostile_svg(), "p")
    root = ElementTree.fromstring(made)
    assert {e.tag for e in root.iter()} == {"svg", "rect", "text", "use"}
    assert "".join(root.itertext()) == f"<script>{RUN}</script>"
    attributes = {name for e in root.iter() for name in e.attrib}
    assert attributes <= ATTRIBUTES | {"style", "href", "role"}
    assert "127.0.0.1" not in made and "href" not in attributes
    assert root.find("rect").attrib == {
        "id": "p-kept", "width": "4", "height": "4", "style": "fill:currentColor",
    }  # fmt: skip


@given(st.sampled_from(["fill", "style", "d", "href", "onload", "{x}href", "transform"]), st.text())
def test_no_attribute_can_reach_outside(name: str, value: str) -> None:
    element = ElementTree.Element("svg", {"viewBox": "0 0 1 1"})
    child = ElementTree.SubElement(element, "path", {name: f"url(//x){value}"})
    child.set("stroke", f"{value};background:url(//x)")
    try:
        made = inline(ElementTree.tostring(element, encoding="unicode"), "p")
    except ValueError:
        return  # letters that XML does not have
    kept = ElementTree.fromstring(made).find("path").attrib
    assert set(kept) <= {"fill", "style", "d", "stroke", "transform"}
    assert not any("//" in text or "url" in text.lower() for text in kept.values())


def test_coordinates_are_shortened_and_not_moved() -> None:
    made = inline(SVG.format(BOX, '<path d="M 1.23456 -0.0049 L 12 3.5"/>'), "p")
    numbers = re.findall(r"-?[\d.]+", re.search(r' d="([^"]+)"', made)[1])
    assert [float(n) for n in numbers] == pytest.approx([1.23456, -0.0049, 12, 3.5], abs=0.005)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<svg",
        "<html></html>",
        SVG.format("", ""),
        f'<!DOCTYPE svg [<!ENTITY a "{"x" * 9}">]>{SVG.format(BOX, "<text>&a;</text>")}',
        SVG.format(BOX, "<g>" * 100_001 + "</g>" * 100_001),
        SVG.format('viewBox="none"', ""),
    ],
)
def test_what_is_no_picture_is_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError, RecursionError)):
        inline(text, "p")


def test_names_are_for_those_who_do_not_see_it() -> None:
    named = label(inline(SVG.format(BOX, ""), "p"), 'a "b" <c>')
    assert ElementTree.fromstring(named).get("aria-label") == 'a "b" <c>'
    assert 'alt="a &#34;b&#34; &lt;c&gt;"' in raster(b"\x89PNG", 'a "b" <c>')
    assert not {"script", "style", "image", "a", "foreignObject", "animate"} & ELEMENTS
