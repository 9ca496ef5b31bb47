"""A report's content: what is found and what is skipped, numbers kept, hostile text inert."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from report_folders import HOSTILE, RUN, advice, fill, fill_hostile, make_trace
from report_page import Page

from longtail.analysis.report.page import Report
from longtail.analysis.report.read import read_report
from longtail.analysis.report.render import LARGEST, ROWS, render
from longtail.sim.sweep import read_table, write_table
from longtail.traces import TraceError, open_trace

sys.path.insert(0, str(Path(__file__).parents[1] / "traces"))

from hostile import mutate_bytes, mutate_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return read_report(folder)


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render(report))


def test_files_are_known_by_what_they_hold(folder: Path, report: Report) -> None:
    files = {file.name: file for file in report.files}
    assert set(files) == {p.name for p in folder.iterdir()}
    assert files["notes.bin"].skipped == "nothing that longtail writes"
    assert all(file.what and not file.skipped for file in files.values() if file.size > 20)
    kinds = {name: file.what for name, file in files.items()}
    assert "advise" in kinds["advice.json"] and "sweep" in kinds["sweep.parquet"]
    assert "simulate" in kinds["simulated-none.json"] and "synthetic" in kinds["T.parquet"]


def test_names_do_not_matter(folder: Path, report: Report, tmp_path: Path) -> None:
    for i, path in enumerate(sorted(folder.iterdir())):
        ending = path.suffix if path.suffix == ".yaml" else ""  # what else tells YAML from text?
        (tmp_path / f"file{i}{ending}").write_bytes(path.read_bytes())
    again = read_report(tmp_path)
    kinds = sorted(re.sub(r"\S+\.json", "", file.what) for file in report.files)
    assert sorted(file.what for file in again.files) == kinds


def test_the_advice_comes_first(report: Report) -> None:
    assert report.parts[0].first and report.parts[0].headlines == ["Turn on suffix with das."]


def test_synthetic_is_loud_and_priors_are_said(report: Report, page: Page) -> None:
    assert report.synthetic == ["T.parquet"]
    assert "SYNTHETIC: T.parquet was made up" in page.text
    assert "not measured on a GPU" in report.limitations[0]
    assert "h100-7b (prior)" in report.limitations[0]
    assert "T.parquet is synthetic: no model wrote it." in report.limitations


def test_recorded_traces_and_calibrated_latencies_are_not_called_so(
    folder: Path, tmp_path: Path
) -> None:
    table = read_table(folder / "sweep.parquet")
    latency = f"calibrated:file={tmp_path}/model.json,digest=1"
    write_table(table.assign(origin="recorded", latency=latency), tmp_path / "s.parquet")
    found = read_report(tmp_path)
    assert not found.synthetic
    assert not any("prior" in line or "SYNTHETIC" in line for line in found.limitations)
    assert "calibration model.json" in found.parts[0].headlines[0]


def test_every_number_of_a_sweep_is_on_the_page(folder: Path, page: Page) -> None:
    table = read_table(folder / "sweep.parquet")
    shown = page.with_columns("rl_step", "processed_tokens", "perfect_s", "max_num_seqs")[0]
    assert len(shown) == len(table)
    for name in ("makespan_s", "clairvoyant_s", "acceptance_length"):
        assert shown[name].astype(float).tolist() == table[name].tolist()
    for name in ("forwards", "output_tokens", "draft_tokens", "accepted_tokens"):
        values = shown[name].str.replace(",", "").astype(int)
        assert values.tolist() == table[name].tolist()


def test_makespans_are_summed_and_compared_within_one_setting(folder: Path, page: Page) -> None:
    table = read_table(folder / "sweep.parquet").fillna({"max_num_seqs": 0})
    shown = page.with_columns("speed_up", "regret", "max_num_seqs")[0]
    sums = table.groupby(["drafter", "budget", "max_num_seqs"]).makespan_s.sum()
    assert sorted(shown.makespan_s.astype(float)) == pytest.approx(sorted(sums))
    plain = sums["none"].groupby("max_num_seqs").min()
    for row in shown.itertuples():
        expected = plain[int(row.max_num_seqs or 0)] / float(row.makespan_s)
        assert float(row.speed_up) == pytest.approx(expected)


def test_simulations_of_other_rl_steps_are_not_compared(folder: Path, tmp_path: Path) -> None:
    one = json.loads((folder / "simulated-suffix.json").read_text())
    one["rl_steps"] = one["rl_steps"][:1]
    one["makespan_s"] = one["rl_steps"][0]["makespan_s"]
    (tmp_path / "one.json").write_text(json.dumps(one))
    (tmp_path / "none.json").write_bytes((folder / "simulated-none.json").read_bytes())
    found = Page(render(read_report(tmp_path)))
    shown = found.with_columns("file", "speed_up")[0].set_index("file")
    assert shown.speed_up.to_dict() == {"none.json": "1.0", "one.json": ""}


def test_totals_that_are_not_the_sums_are_refused(folder: Path, tmp_path: Path) -> None:
    one = json.loads((folder / "simulated-suffix.json").read_text())
    (tmp_path / "wrong.json").write_text(json.dumps(one | {"makespan_s": one["makespan_s"] + 1}))
    (tmp_path / "right.json").write_text(json.dumps(one))
    why = {file.name: file.skipped for file in read_report(tmp_path).files}
    assert "makespan_s" in why["wrong.json"] and not why["right.json"]


@pytest.mark.parametrize("column", ["finished", "output_tokens"])
def test_what_is_not_conserved_is_loud(folder: Path, tmp_path: Path, column: str) -> None:
    table = read_table(folder / "sweep.parquet")
    table.loc[3, column] -= 1
    write_table(table, tmp_path / "sweep.csv")
    assert "NOT CONSERVED" in Page(render(read_report(tmp_path))).text


def test_the_trace_in_numbers(folder: Path, page: Page) -> None:
    lengths = open_trace(folder / "T.parquet").lengths()
    shown = page.with_columns("RL step", "longest/median")[0]
    assert shown["output tokens"].str.replace(",", "").astype(int).sum() == lengths.output_len.sum()
    curve = page.with_columns("output tokens", "share")[0]
    shares = curve.share.astype(float).tolist()
    assert shares[0] == 1.0 and shares == sorted(shares, reverse=True)
    assert curve["output tokens"].str.replace(",", "").astype(int).max() == lengths.output_len.max()


def test_rollouts_as_text_need_the_traces_own_tokenizer(tmp_path: Path) -> None:
    for path in fill_hostile(tmp_path).iterdir():
        if path.name not in ("T.parquet", "tokenizer.json"):
            path.unlink()
    inside = Page(render(read_report(tmp_path))).text
    (tmp_path / "elsewhere.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    elsewhere = (tmp_path / "elsewhere.json").rename(tmp_path.parent / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text('{"model": {}, "added_tokens": []}')
    other = Page(render(read_report(tmp_path))).text
    named = Page(render(read_report(tmp_path, elsewhere))).text
    assert "shown as ids" in other and "shown as ids" not in inside + named
    with pytest.raises(TraceError, match="tokenizer cannot be read"):
        read_report(tmp_path, tmp_path / "nothing.json")


def test_every_figure_has_its_numbers_or_says_why_not(report: Report, page: Page) -> None:
    pictures = [b for part in report.parts for b in part.blocks if b.kind == "figure"]
    assert len(pictures) >= 4 and all(b.numbers for b in pictures)
    summaries = page.text.count("The numbers of this figure")
    assert summaries == len(pictures) == [tag for tag, _ in page.elements].count("figure")


def test_ids_are_unique_and_every_reference_leads_somewhere(page: Page) -> None:
    ids = [value["id"] for _, value in page.elements if "id" in value]
    assert len(ids) == len(set(ids))
    for _, values in page.elements:
        for name, value in values.items():
            for found in re.findall(r"url\(#([^)]*)\)", value or ""):
                assert found in ids
            if name == "href" and value and value.startswith("#"):
                assert value[1:] in ids


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, values in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form", "foreignobject", "image"}
        for name, value in values.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                assert re.match(r"#|data:", value or "") or tag == "a"
    policy = next(v["content"] for t, v in page.elements if v.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_hostile_text_is_text(tmp_path: Path) -> None:
    report = read_report(fill_hostile(tmp_path))
    skipped = [file.name for file in report.files if file.skipped]
    assert skipped == []
    raw = render(report)
    made = Page(raw)
    tags = [tag for tag, _ in made.elements]
    assert tags.count("script") == 1 and tags.count("style") == 1 and "iframe" not in tags
    assert "img" not in tags  # the only picture is an SVG
    test_nothing_is_loaded_from_anywhere(made)
    for text in HOSTILE[:4]:
        assert made.text.count(text) >= 5  # as cells, prompts, advice, provenance, limitations
    assert all(text not in raw.decode() for text in HOSTILE[:4])
    assert "[The picture http://127.0.0.1:9/x.png is not in the folder: p]" in made.text
    assert f"[here](javascript:{RUN})" in made.text
    assert b"127.0.0.1" not in re.sub(rb"\[The picture [^\]]*\]", b"", raw)


def test_the_same_folder_the_same_bytes(folder: Path, report: Report) -> None:
    assert render(read_report(folder)) == render(report)


def test_large_tables_are_cut_and_say_so(folder: Path, tmp_path: Path) -> None:
    table = read_table(folder / "sweep.parquet")
    many = pd.concat([table.assign(max_num_seqs=i + 1) for i in range(2_000 // len(table) + 1)])
    write_table(many.head(2_000), tmp_path / "sweep.parquet")
    wide = pd.DataFrame({f"c{j}": [f"{k} {'x' * 40}" for k in range(1_500)] for j in range(8)})
    write_table(wide, tmp_path / "wide.csv")
    report = read_report(tmp_path)
    assert len(render(report)) < LARGEST == 5_000_000
    page = render(report, 600_000)
    made = Page(page)
    assert len(page) < 600_000
    longest = max(len(rows) - 1 for rows in made.tables)
    assert longest in ROWS[1:]  # the first choice was too much
    assert f"The first {longest} of 1,500 rows; all of them are in wide.csv." in made.text
    assert f"The first {longest} of 2,000 rows; all of them are in sweep.parquet." in made.text


def test_pictures_go_before_the_report_does(tmp_path: Path) -> None:
    shapes = "".join(f'<path d="M{i} 0L{i} 9"/>' for i in range(1_000))
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{shapes}</svg>'
    (tmp_path / "p.svg").write_text(text)
    report = read_report(tmp_path)
    whole, small = render(report), render(report, 30_000)
    assert whole.count(b"<path") == 1_000 and b"was left out" not in whole
    assert small.count(b"<path") == 0 and b"The picture was left out" in small
    with pytest.raises(TraceError, match=r"larger than 0.001 MB; name a folder with less in it"):
        render(report, 1_000)


def test_pages_have_their_pictures_and_whole_tables(tmp_path: Path) -> None:
    (tmp_path / "das.md").write_text(
        "# DAS beside our simulation\n\nMade by `longtail reproduce das`.\n\n"
        "T.parquet (SYNTHETIC): 24 rollouts\n\n## Claims\n\n| claim | ours |\n|---|---:|\n"
        "| one | 2 |\n\n[CSV](das-claims.csv). Of 3 claims, 2 hold in our simulation, 1 do not.\n\n"
        "## Curves\n\nWords.\n\n![Curves](das-curves.png)\n\nEnds ([CSV](das-ends.csv)):\n\n"
        "Curves ([CSV](das-curves.csv)):\n"
    )
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0"/></svg>'
    (tmp_path / "das-curves.svg").write_text(svg)
    (tmp_path / "das-claims.csv").write_text("claim,ours\none,2.5\n")
    (tmp_path / "das-ends.csv").write_text("end\n7\n")
    (tmp_path / "das-curves.csv").write_text("x,y\n1,0.123456789\n2,0.5\n")
    report = read_report(tmp_path)
    assert [file.name for file in report.files if file.skipped] == []
    (part,) = report.parts
    expected = "DAS beside our simulation. Of 3 claims, 2 hold in our simulation, 1 do not."
    assert part.headlines == [expected]
    (figure,) = [block for block in part.blocks if block.kind == "figure"]
    (numbers,) = figure.numbers
    assert numbers.frame.y.tolist() == [0.123456789, 0.5]
    rest = [block.title for block in part.blocks if block.kind == "table"]
    assert rest == ["das-claims.csv", "das-ends.csv"]
    assert report.synthetic and "prior" in " ".join(report.limitations)
    assert Page(render(report)).with_columns("x", "y")[0].y.tolist() == ["0.123456789", "0.5"]


TOKENIZER = b'{"model": {}, "added_tokens": []}'


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\x00", b"{}", b"[1]", b"\xff\xfe", b"no, table", b"a,b,c\n", TOKENIZER],
)
def test_nothing_found_is_one_clear_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
        (tmp_path / "dump.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    count = 0 if content is None else 2
    with pytest.raises(TraceError, match=f"nothing here that longtail writes, in {count} files"):
        read_report(tmp_path)


def test_nothing_but_broken_files_is_an_error_that_says_why(folder: Path, tmp_path: Path) -> None:
    for name in ("advice.json", "sweep.parquet", "T.parquet"):
        raw = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(raw[: len(raw) // 2])
    (tmp_path / "notes.bin").write_bytes(b"\x00")
    with pytest.raises(TraceError) as told:
        read_report(tmp_path)
    problem = str(told.value)
    assert re.search(
        r"nothing here can be read: T.parquet \(.*[Pp]arquet.*\), and 2 more; ", problem
    )
    (tmp_path / "T.parquet").unlink()
    (tmp_path / "sweep.parquet").unlink()
    with pytest.raises(TraceError, match=r"read: advice.json \(not JSON: .*\); make these files"):
        read_report(tmp_path)


def test_links_to_folders_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "advice.json").write_text(json.dumps(advice()))
    assert [file.name for file in read_report(tmp_path).files] == ["advice.json"]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_skipped_or_shown_never_a_fault(
    folder: Path, tmp_path: Path, seed: int
) -> None:
    names = ("advice.json", "simulated-suffix.json", "sweep.parquet", "T.parquet")
    path = folder / random.Random(seed).choice(names)
    raw = path.read_bytes()
    if path.suffix == ".json" and seed % 4:
        raw = json.dumps(mutate_record(json.loads(raw), seed)).encode()
    else:
        raw = mutate_bytes(raw, seed)
    (tmp_path / path.name).write_bytes(raw)
    (tmp_path / "policy.yaml").write_bytes((folder / "policy.yaml").read_bytes())
    report = read_report(tmp_path)
    assert {file.name for file in report.files} == {path.name, "policy.yaml"}
    assert {file.name: file.what for file in report.files}["policy.yaml"] == "policy file"
    Page(render(report))


def test_a_trace_alone_is_enough(tmp_path: Path) -> None:
    make_trace(tmp_path / "T.parquet")
    assert [part.title for part in read_report(tmp_path).parts] == ["Trace: T.parquet"]
