"""Compile once, keep it: numba's on-disk cache, keyed by all of the sources that are compiled.

Numba checks the file in which a function stands, not the files of the functions it calls: after an
update it may run old code. So the cache lies in a folder named after a digest of every source file
of `policies` and `sim`, and a change anywhere begins a new one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import event

KEPT = 4  # digests kept on disk; older ones are deleted


@functools.cache
def cache_folder() -> Path:
    """Where this version's machine code is kept; created, and older versions' removed."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in ("policies", "sim"):
        for source in sorted((package / room).rglob("*.py")):
            digest.update(source.relative_to(package).as_posix().encode() + b"\0")
            digest.update(source.read_bytes() + b"\0")
    name = digest.hexdigest()[:16]
    try:
        base = (
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtail" / "numba"
        )
        base.mkdir(parents=True, exist_ok=True)
        if not os.access(base, os.W_OK):
            raise PermissionError(base)
    except (OSError, RuntimeError):  # no home to write to: compile anew each time
        return Path(tempfile.mkdtemp(prefix="longtail-numba-"))
    if not (base / name).exists():
        with contextlib.suppress(OSError):  # another process may be deleting the same ones
            old = sorted((p for p in base.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
            for stale in old[: max(0, len(old) - KEPT + 1)]:
                shutil.rmtree(stale, ignore_errors=True)
    return base / name


@contextlib.contextmanager
def told_of_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` when something is compiled that is not kept on disk: once, by whoever is first of
    this process and those that are forked from it.
    """
    token, giver = os.pipe()  # whoever reads the one byte that is in it tells
    os.write(giver, b"!")
    os.close(giver)

    class Teller(event.Listener):
        def on_start(self, event: Any) -> None:
            if os.read(token, 1):
                tell()

        def on_end(self, event: Any) -> None:
            pass

    try:
        with event.install_listener("numba:compile", Teller()):
            yield
    finally:
        os.close(token)


def jit(*signature: Any, inner: bool = False, **options: Any) -> Callable[..., Any]:
    """`numba.njit` with the GIL released and this project's own on-disk cache.

    inner: called from compiled code only (from Python it crashes): nothing is generated for
    callers in Python, which for tuples of arrays is a good part of the compilation.
    """

    if inner:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

    def decorate(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache_folder())  # read when the cache object is made
        try:
            return numba.njit(*signature, cache=True, nogil=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate
