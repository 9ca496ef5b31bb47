"""Samples of a `torch.save` file, without running what its pickle asks for.

torch is imported only here, and its loader is told `weights_only`: it builds plain values and
tensors and refuses everything else. What it does not guard against is guarded here: packed entries,
and tensors that pretend to more elements than the file has bytes.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..sources import Source

EXTRA = "pip install 'longtail[slime]' (or torch by itself)"
REMEDY = "give the .pt file that slime wrote, of plain values (no images, no routed experts)"


def torch_records(source: Source) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The dictionaries under `samples`, numbered from 1; tensors in them become lists."""
    size = _refuse_packed(source)
    torch = _torch(source)
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(source.path, map_location="cpu", weights_only=True)
    except Exception as error:  # its pickle machine lets through whatever a broken file causes
        reason = str(error).strip().splitlines()
        shown = f"{type(error).__name__}: {reason[-1][:200] if reason else ''}"
        raise source.error(f"torch refuses to load it ({shown})", remedy=REMEDY) from None
    samples = loaded.get("samples") if isinstance(loaded, dict) else None
    if not isinstance(samples, list):
        raise source.error("no list of samples in it", remedy=REMEDY)
    tokens = 0
    for number, sample in enumerate(samples, start=1):
        if not isinstance(sample, dict) or not all(isinstance(name, str) for name in sample):
            raise source.error("a sample is no dictionary of names", number, REMEDY)
        values = {name: _plain(source, number, torch, v, size) for name, v in sample.items()}
        tokens += len(values["tokens"]) if isinstance(values.get("tokens"), list) else 0
        if tokens > size:  # a pickle can refer to one list many times
            raise source.error("more tokens than the file has bytes", number, REMEDY)
        yield number, values


def _refuse_packed(source: Source) -> int:
    """The file's size in bytes; torch.save never packs, so packed entries mean harm."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            entries = archive.infolist()
        size = Path(source.path).stat().st_size
    except Exception as error:  # zipfile, too, raises many things for a broken file
        raise source.error(f"not a .pt file ({error})", remedy=REMEDY) from None
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > size:
        raise source.error("its entries are packed, which torch.save does not do", remedy=REMEDY)
    return size


def _torch(source: Source) -> Any:
    try:
        return import_module("torch")
    except ImportError:
        raise source.error(
            "reading .pt files needs torch, which is not installed", remedy=EXTRA
        ) from None


def _plain(source: Source, number: int, torch: Any, value: Any, size: int) -> Any:
    """A tensor as a list; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout != torch.strided or value.is_quantized or value.numel() > size:
        raise source.error("a tensor larger than the file, or not a plain one", number, REMEDY)
    return value.tolist()
