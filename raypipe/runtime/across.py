"""Errors across processes: caught where they happen, carried as values, raised or reported as their own type elsewhere."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable

from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Raised:
    """An error on its way to another process."""

    error: BaseException


def attempt(work: Callable[[], object]) -> object:
    """Return what the work returns, or `Raised` with its error; an engine's panic is no Exception and is caught too."""
    try:
        return work()
    except KeyboardInterrupt:  # how Ray cancels a task
        raise
    except BaseException as error:
        return Raised(portable(error))


def portable(error: BaseException) -> BaseException:
    """Return the error as it can be pickled, with its traceback as a note; another type only where its own cannot travel."""
    text = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = None
    try:
        error.add_note(f"In the other process:\n{text}")
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes; some errors can be pickled but not be read back
    except Exception:
        changed = RuntimeError(f"{type(error).__name__}: {error}")
        changed.add_note(f"In the other process:\n{text}")
        return changed
    return error
