"""A report in a real browser: it runs nothing but its own script, sorts, folds, and can be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_folders import fill, fill_hostile
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from longtail.analysis.report.page import Part, Report, Table
from longtail.analysis.report.read import read_report
from longtail.analysis.report.render import PRINT_ROWS, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
CONTRAST = """
const lum = (c) => { const [r, g, b] = c.map((v) => v / 255).map(
  (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const paper = (e) => { for (; e; e = e.parentElement) {
  const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] === 1) return c.slice(0, 3); }
  return [255, 255, 255]; };
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
  if (!text || !e.getClientRects().length || e.closest("script")) continue;
  const drawn = e instanceof SVGElement, style = getComputedStyle(e);
  const a = lum(parse(drawn ? style.fill : style.color).slice(0, 3)), b = lum(paper(e));
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), drawn, text.slice(0, 40)]);
}
return found;
"""
ROWS = "return [...document.querySelector('#part-1 table').tBodies[0].rows].map(r => r.cells[{}]"
ROWS += ".textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An honest report and a hostile one, as files."""
    made = {}
    for name, make in (("honest", fill), ("hostile", fill_hostile)):
        made[name] = tmp_path_factory.mktemp("pages") / "report.html"
        made[name].write_bytes(render(read_report(make(tmp_path_factory.mktemp(name)))))
    return made


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Callable[..., Any]:
    """Opens a page, or a report, as somebody with this screen would see it."""

    def open_page(
        page: Path | Report, *, width: int = 1200, scheme: str = "light", media: str = "screen"
    ) -> Any:
        if isinstance(page, Report):
            (tmp_path / "report.html").write_bytes(render(page))
            page = tmp_path / "report.html"
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        emulated = {"media": media, "features": features}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # forget what was before
        browser.get(page.as_uri())
        return browser

    return open_page


def little(**columns: list[Any]) -> Report:
    part = Part("Little", [Table("t", pd.DataFrame(columns), {"s": "{:.2f}x"})])
    return Report("little", [part], [], [], {})


@pytest.mark.parametrize("name", ["honest", "hostile"])
def test_nothing_is_complained_of_loaded_or_run(
    show: Callable[..., Any], pages: dict[str, Path], name: str
) -> None:
    page = show(pages[name])
    for details in page.find_elements(By.CSS_SELECTOR, "main details"):
        page.execute_script("arguments[0].open = true", details)
    for button in page.find_elements(By.CSS_SELECTOR, "th button"):
        page.execute_script("arguments[0].click()", button)
    assert page.get_log("browser") == []
    messages = [json.loads(e["message"])["message"] for e in page.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    addresses = {s["request"]["url"].partition("#")[0] for s in sent}
    assert {a for a in addresses if not a.startswith("data:")} == {pages[name].as_uri()}
    assert page.execute_script("return window.owned") is None
    with pytest.raises(NoAlertPresentException):
        page.switch_to.alert.accept()
    assert page.title.endswith("longtail report")
    assert page.execute_script("return document.scripts.length") == 1
    assert page.find_element(By.ID, "limitations").is_displayed()


def test_the_policy_stops_what_the_page_did_not_bring(show: Callable[..., Any]) -> None:
    page = show(little(a=[1, 2]))
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1';"
        "document.body.append(s); const i = new Image(); i.src = 'http://127.0.0.1:9/x.png';"
        "document.body.append(i);"
    )
    assert page.execute_script("return window.owned") is None
    log = " ".join(entry["message"] for entry in page.get_log("browser"))
    assert "script-src" in log and "img-src" in log


NUMBERS = [10.5, None, 9.0, float("inf"), 1200.0, -3.0, 1e-7]
WORDS = ["fixed:k=16", "fixed:k=2", "das", "", "Aimd", "tail", "-"]


@pytest.mark.parametrize("press", ["click", Keys.ENTER, Keys.SPACE])
def test_numbers_sort_as_numbers_and_missing_ones_last(
    show: Callable[..., Any], press: str
) -> None:
    page = show(little(n=NUMBERS, s=NUMBERS, i=list(range(7))))
    button = page.find_elements(By.CSS_SELECTOR, "#part-1 th button")[1]
    head = page.find_elements(By.CSS_SELECTOR, "#part-1 th")[1]

    def order() -> list[int]:
        if press == "click":
            button.click()
        else:
            button.send_keys(press)
        return [int(text) for text in page.execute_script(ROWS.format(2))]

    assert order() == [5, 6, 2, 0, 4, 3, 1]
    assert head.get_attribute("aria-sort") == "ascending"
    assert order() == [3, 4, 0, 2, 6, 5, 1]
    assert head.get_attribute("aria-sort") == "descending"
    assert order() == list(range(7))
    assert head.get_attribute("aria-sort") is None


def test_words_sort_as_words_with_the_numbers_in_them(show: Callable[..., Any]) -> None:
    page = show(little(w=WORDS, i=list(range(7))))
    button = page.find_element(By.CSS_SELECTOR, "#part-1 th button")
    button.click()
    assert page.execute_script(ROWS.format(0))[:5] == [
        "Aimd", "das", "fixed:k=2", "fixed:k=16", "tail",
    ]  # fmt: skip
    button.click()
    assert page.execute_script(ROWS.format(0))[:2] == ["tail", "fixed:k=16"]
    assert set(page.execute_script(ROWS.format(0))[5:]) == {"", "-"}


def test_headings_are_reached_by_the_keyboard(show: Callable[..., Any]) -> None:
    page = show(little(n=[2, 1], w=["b", "a"]))
    for _ in range(20):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if page.switch_to.active_element.text == "w":
            break
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.execute_script(ROWS.format(1)) == ["a", "b"]


@pytest.mark.parametrize("press", ["click", Keys.ENTER])
def test_numbers_of_a_figure_are_one_click_away(
    show: Callable[..., Any], pages: dict[str, Path], press: str
) -> None:
    page = show(pages["honest"])
    folded = page.find_elements(By.CSS_SELECTOR, "figure details")
    assert len(folded) >= 4
    for details in folded:
        table, summary = (details.find_element(By.TAG_NAME, tag) for tag in ("table", "summary"))
        assert not table.is_displayed()
        summary.click() if press == "click" else summary.send_keys(press)
        assert table.is_displayed() and len(table.text) > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_both_schemes(
    show: Callable[..., Any], pages: dict[str, Path], scheme: str
) -> None:
    page = show(pages["honest"], scheme=scheme)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    found = page.execute_script(CONTRAST)
    assert len(found) > 300 and any(drawn for _, drawn, _ in found)
    faint = [(r, text) for r, drawn, text in found if r < (3.0 if drawn else 4.5)]
    assert not faint


@pytest.mark.parametrize("name", ["honest", "hostile"])
def test_a_phone_scrolls_down_only(
    show: Callable[..., Any], pages: dict[str, Path], name: str
) -> None:
    page = show(pages[name], width=390)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    narrow = page.execute_script(
        "return [...document.querySelectorAll('main p, main li, dd')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert narrow == 0


def test_paper_has_everything_open_and_light(
    show: Callable[..., Any], pages: dict[str, Path]
) -> None:
    page = show(pages["honest"], scheme="dark", media="print")
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    hidden = page.execute_script(  # nothing was opened: what is closed on a screen shows on paper
        "return [...document.querySelectorAll('details:not([open]) table')]"
        ".filter(t => !t.getClientRects().length).length"
    )
    assert hidden == 0 and page.find_elements(By.CSS_SELECTOR, "details:not([open])")
    rows = "[...document.querySelector('#part-1 table').tBodies[0].rows]"
    shown = f"return {rows}.filter(r => r.getClientRects().length).length"
    many = little(n=list(range(PRINT_ROWS + 9)))
    assert show(many, media="print").execute_script(shown) == PRINT_ROWS
    assert show(many).execute_script(shown) == PRINT_ROWS + 9


def test_printing_opens_what_is_folded_and_closes_it_again(
    show: Callable[..., Any], pages: dict[str, Path]
) -> None:
    page = show(pages["honest"])
    count = "document.querySelectorAll('details[open]').length"
    page.execute_script(f"addEventListener('beforeprint', () => {{ window.seen = {count}; }})")
    page.execute_script("document.querySelector('details').open = true")
    total = page.execute_script("return document.querySelectorAll('details').length")
    page.print_page()
    assert page.execute_script("return window.seen") == total > 5
    assert page.execute_script(f"return {count}") == 1
