"""Column names that steps are given: there when they are read, free when they are made."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import polars as pl

from raypipe.engine.batches import RESERVED_NAMES
from raypipe.errors import ConfigurationError


def require_columns(what: str, names: Iterable[str], schema: Mapping[str, pl.DataType]) -> None:
    """Raise ConfigurationError for names that are no column of the rows, with the nearest that is."""
    problems = []
    for name in names:
        if name not in schema:
            near = difflib.get_close_matches(name, schema, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the rows have {', '.join(schema) or 'no columns'}"
            problems.append(f"{what}: there is no column {name!r}; {hint}")
    if problems:
        raise ConfigurationError(problems)


def refuse_reserved(what: str, names: Iterable[str]) -> None:
    """Raise ConfigurationError for new columns with names that raypipe keeps for itself."""
    taken = [name for name in names if name in RESERVED_NAMES]
    if taken:
        raise ConfigurationError(f"{what}: {', '.join(map(repr, taken))} is a name that raypipe keeps for itself: take another")
