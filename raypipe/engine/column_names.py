"""Column names that steps are given: there when they are read, free when they are made."""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Mapping

import polars as pl

from raypipe.engine.batches import RESERVED_NAMES
from raypipe.errors import ConfigurationError
from raypipe.ports import SHARD_COLUMN

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def column_meant(name: str, columns: Iterable[str], who_has: str) -> str:
    """Return which of the columns may have been meant; where none is near, all that there are."""
    have = list(columns)
    near = difflib.get_close_matches(name, have, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{who_has} {', '.join(have) or 'no columns'}"


def require_columns(what: str, names: Iterable[str], schema: Mapping[str, pl.DataType]) -> None:
    """Raise ConfigurationError for names that are no column of the rows, with the nearest that is."""
    problems = []
    for name in names:
        if name not in schema:
            problems.append(f"{what}: there is no column {name!r}; {column_meant(name, schema, 'the rows have')}")
    if problems:
        raise ConfigurationError(problems)


def refuse_reserved(what: str, names: Iterable[str]) -> None:
    """Raise ConfigurationError for new columns with names that raypipe keeps for itself."""
    taken = [name for name in names if name in RESERVED_NAMES]
    if taken:
        raise ConfigurationError(f"{what}: {', '.join(map(repr, taken))} is a name that raypipe keeps for itself: take another")


def refuse_unfit(what: str, names: Iterable[str]) -> None:
    """Raise ConfigurationError for columns that no table can hold, because an engine would rename them without a word.

    Tables know columns by their names whatever the case of ASCII letters; a name has at least one character and no NUL.
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = name.translate(_LOWER)
        if folded in seen:
            alike = f"columns {seen[folded]!r} and {name!r} have one name: tables do not tell upper from lower case"
            raise ConfigurationError(f"{what}: {alike}; rename one, or leave it out")
        seen[folded] = name
        if not name or "\0" in name:
            raise ConfigurationError(f"{what}: got a column named {name!r}, expected a name without NUL; rename it or leave it out")
        if folded == SHARD_COLUMN:
            raise ConfigurationError(f"{what}: {name!r} is a name that raypipe keeps for itself: take another")
