"""slime's .pt files are pickles: nothing in one is run, and none fills the memory."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import dumps
import pytest


class Runs:
    """A pickle of it would run code when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def torch_file(path: Path, pickled: bytes, how: int = zipfile.ZIP_STORED) -> Path:
    """The container that torch.save writes, around any pickle."""
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


def test_pickles_are_not_run(bench: Any) -> None:
    pytest.importorskip("torch")
    marker = bench.folder / "marker"
    for protocol in (2, 4):
        raw = pickle.dumps({"samples": [Runs(marker)]}, protocol)
        message = bench.refused("import", "slime", torch_file(bench.folder / "1.pt", raw))
        assert "1.pt: torch refuses to load it" in message
        bare = bench.file("2.pt", raw)
        assert "a pt file is wanted, this is text" in bench.refused("import", "slime", bare)
    assert not marker.exists()
    assert pickle.loads(raw) and marker.exists()  # it would have run


def test_packed_pt_files_and_shared_lists_are_refused(bench: Any) -> None:
    torch = pytest.importorskip("torch")
    packed = torch_file(bench.folder / "1.pt", bytes(10**7), zipfile.ZIP_DEFLATED)
    assert "its entries are packed" in bench.refused("import", "slime", packed)
    sample = dumps.slime_sample(1, 0, 0, [5] * 2000) | {"rollout_log_probs": None}
    shared = {"samples": [{**sample, "index": i} for i in range(200)]}
    torch.save(shared, packed)
    assert "longer lists than the file has bytes" in bench.refused("import", "slime", packed)
    for n, times in ((10**10, 1), (1000, 100)):  # at once, or little by little
        stretched = torch.zeros(1, dtype=torch.long).expand(n)
        many = {f"x{i}": stretched[:] for i in range(times)}
        torch.save({"samples": [many | dumps.slime_sample(1, 0, 0, [5])]}, packed)
        assert "longer lists than the file has bytes" in bench.refused("import", "slime", packed)


def test_odd_things_in_pt_files(bench: Any) -> None:
    torch = pytest.importorskip("torch")
    path = bench.folder / "1.pt"
    hidden = OrderedDict(spec_draft_token_num=1)
    hidden.__dict__["get"] = 3  # of an OrderedDict a pickle can overwrite the methods
    change: dict[str, Any]
    for change, problem in (
        ({"tokens": torch.empty(3, device="meta")}, "tokens is not a plain tensor"),
        ({"tokens": torch.eye(2).to_sparse()}, "tokens is not a plain tensor"),
        ({"loss_mask": [torch.tensor([1, 2])] * 2}, "a token mask holds what is neither"),
        ({"loss_mask": ["0", "1"]}, "a token mask holds what is neither"),
        ({"spec_info": hidden}, ""),
    ):
        torch.save({"samples": [dumps.slime_sample(1, 0, 0, [5]) | change]}, path)
        if problem:
            assert f"{path}, row 1: {problem}" in bench.refused("import", "slime", path)
        else:
            bench.done(bench.run("import", "slime", path, "-o", bench.output))


def test_slime_without_torch_names_the_extra(bench: Any, monkeypatch: Any) -> None:
    path = torch_file(bench.folder / "1.pt", pickle.dumps({}))
    monkeypatch.setitem(sys.modules, "torch", None)
    message = bench.refused("import", "slime", path)
    assert "needs torch, which is not installed; pip install 'longtail[slime]'" in message
