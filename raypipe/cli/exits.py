"""Exits: what an error prints and which exit code it has. A person's mistake never shows a traceback."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable

from raypipe.cli.output import Output
from raypipe.errors import ConfigurationError, RaypipeError

EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h: a bug of ours, apart from all codes with a meaning
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def exit_code_of(call: Callable[[], int | None], out: Output) -> int:
    """Call a verb and return its exit code; an error is printed, never raised."""
    try:
        return call() or 0
    except RaypipeError as error:
        if out.verbose:
            out.note(traceback.format_exc())
        return _failed(out, error.code, error_text(error), error.exit_code)
    except KeyboardInterrupt:
        return _failed(out, "interrupted", "interrupted; nothing was left half done", EXIT_INTERRUPTED)
    except BaseException as error:  # engines raise panics that are no Exception: they get the same plain end
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        return _failed(out, "unexpected", _unexpected_text(error, out), EXIT_UNEXPECTED)


def error_text(error: RaypipeError) -> str:
    """Return the text of an error for a person; the mistakes of a configuration are counted and listed."""
    if isinstance(error, ConfigurationError) and len(error.problems) > 1:
        return "\n".join([f"{len(error.problems)} mistakes; nothing was run", *(f"  {problem}" for problem in error.problems)])
    return str(error) or error.code


def _failed(out: Output, code: str, text: str, exit_code: int) -> int:
    out.error(f"error: {text}")
    out.document({"error": {"code": code, "text": text, "exit_code": exit_code}})
    return exit_code


def _unexpected_text(error: BaseException, out: Output) -> str:
    story = "".join(traceback.format_exception(error))
    if out.verbose:
        out.note(story)
    summary = f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    try:
        handle, path = tempfile.mkstemp(prefix="raypipe-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(story)
    except OSError:
        return f"{summary} (this is a bug of raypipe; -v shows the traceback)"
    return f"{summary} (this is a bug of raypipe; the traceback is in {path})"
