"""The allocator of the C library, from which DuckDB and Python have their memory, in a process of raypipe's own."""

from __future__ import annotations

import os

_OPTIONS = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}  # as malloc.h numbers them


def give_back_freed_memory() -> None:
    """Make the C library do in this process what its variables tell it in those that it starts; musl and macOS have no such thing.

    glibc keeps what was freed, up to twice the largest block that ever was, unless it is told how much to keep.
    """
    import ctypes

    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, option in _OPTIONS.items():
        wanted = os.environ.get(variable, "")
        if tell is not None and wanted.isdecimal():
            tell(option, min(int(wanted), 2**31 - 1))
