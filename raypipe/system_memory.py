"""The allocator of the C library, from which DuckDB and Python have their memory, in a process of raypipe's own."""

from __future__ import annotations

import os

_TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD of malloc.h
_VARIABLE = "MALLOC_TRIM_THRESHOLD_"


def give_back_freed_memory() -> None:
    """Make the C library do in this process what the variable tells it in those that it starts; musl and macOS have no such thing.

    glibc keeps what was freed, up to twice the largest block that ever was, unless it is told how much to keep.
    """
    import ctypes

    if wanted := os.environ.get(_VARIABLE, ""):
        tell = getattr(ctypes.CDLL(None), "mallopt", None)
        if tell is not None and wanted.isdecimal():
            tell(_TRIM_THRESHOLD, min(int(wanted), 2**31 - 1))
