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
PLAIN = (str, int, float, bool, list, dict)
REMEDY = "give the .pt file that slime wrote, of plain values (no images, no routed experts)"


def torch_records(source: Source) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The dictionaries under `samples`, numbered from 1; tensors in them become lists."""
    size = _refuse_packed(source)
    torch = _torch(source)
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(source.path, map_location="cpu", weights_only=True)
    except Exception as error:  # its pickle machine lets through whatever a broken file causes
        raise source.error(f"torch refuses to load it ({_reason(error)})", remedy=REMEDY) from None
    # Of these very types: a pickle can hide the methods of others behind what it likes.
    samples = loaded.get("samples") if type(loaded) is dict else None
    if type(samples) is not list:
        raise source.error("no list of samples in it", remedy=REMEDY)
    elements = 0
    for number, sample in enumerate(samples, start=1):
        if type(sample) is not dict or not all(isinstance(name, str) for name in sample):
            raise source.error("a sample is no dictionary of names", number, REMEDY)
        values = {}
        for name, value in sample.items():
            is_tensor = isinstance(value, torch.Tensor)
            if is_tensor and (value.layout != torch.strided or value.is_quantized or value.is_meta):
                raise source.error(f"{name} is not a plain tensor", number, REMEDY)
            elements += value.numel() if is_tensor else len(value) if type(value) is list else 0
            if elements > size:  # a tensor can be stretched, and one list be referred to many times
                raise source.error("longer lists than the file has bytes", number, REMEDY)
            plain = value.tolist() if is_tensor else value
            values[name] = plain if type(plain) in PLAIN else None
        yield number, values


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1][:200] if lines else ''}"


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
