"""The cycle collector of the interpreter, which looks through all that is new again and again while much is made that stays."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_resting() -> Iterator[None]:
    """Keep it from looking while 100,000 values are read or planned, of which none is garbage: a tenth of what that takes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
