"""Merge: how the contributions of shards become one table: the newest row of each key, or partial aggregates combined.

A merge is a description, and standard library only. `merge_sql` says it in SQL; the memory destination does it in Python.
Contributions stand in columns of their own: of a keyed table, the user's columns, what settles ties and whether the row is
a deletion; of a combined table, the groups and for each measure its partials, called `<measure>.<partial>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from raypipe.lazy_dataclass import dataclass

TIE_COLUMNS = ("_time", "_source", "_position")
"""Event time, URI and place of a row: which of two versions of a key is newer when `latest_by` does not tell."""
DELETED_COLUMN = "_raypipe_deleted"
"""True on a row of a keyed contribution that deletes its key."""

PARTIALS: Mapping[str, tuple[str, ...]] = {
    "count": ("count",),
    "count_distinct": ("values",),
    "sum": ("sum",),
    "avg": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "variance": ("count", "mean", "m2"),
    "stddev": ("count", "mean", "m2"),
    "bool_and": ("all",),
    "bool_or": ("any",),
    "first": ("value", "time", "source", "position"),
    "last": ("value", "time", "source", "position"),
    "approx_count_distinct": ("registers",),
    "approx_quantile": ("buckets",),
}
"""What a shard keeps of each measure, enough to combine: `m2` is the sum of squared distances from the mean."""

REGISTERS = 2048  # of HyperLogLog: the standard error is 1.04 / sqrt(2048) = 2.3 %, and a contribution 8 kB at most
RANKS = 64  # an entry is register * RANKS + rank; a rank is at most 54, one more than the bits that are left of a 64-bit hash
BUCKET_BITS = 6  # of the mantissa: 64 buckets between powers of two, so that a quantile is right to 1/128 of its value


@dataclass(frozen=True, slots=True)
class Keyed:
    """One row a key: the newest by `latest_by`, then by TIE_COLUMNS; nulls are older than anything."""

    key: tuple[str, ...]
    latest_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a combined table. `argument` makes the partials and has no part in how they combine."""

    name: str
    function: str
    quantile: str | None = None
    """The share of `approx_quantile`, as it was written."""
    argument: str | None = field(default=None, compare=False)
    """A row expression; None counts rows."""

    def partial(self, part: str) -> str:
        """Return the column of a contribution that holds a partial."""
        return f"{self.name}.{part}"

    @property
    def partials(self) -> tuple[str, ...]:
        """The columns of a contribution that hold this measure."""
        return tuple(self.partial(part) for part in PARTIALS[self.function])

    @property
    def share(self) -> Fraction:
        """The share of `approx_quantile`, exactly."""
        return Fraction(self.quantile or 0)


@dataclass(frozen=True, slots=True)
class Combined:
    """One row a group; each measure is combined from the partials of all shards."""

    groups: tuple[str, ...]
    measures: tuple[Measure, ...]

    def __post_init__(self) -> None:
        for names in ((*self.groups, *(one.name for one in self.measures)), self.columns):
            seen: set[str] = set()
            for name in names:
                if name.lower() in seen:
                    raise ValueError(f'two groups or measures make a column "{name}": names may not differ in case only')
                seen.add(name.lower())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a contribution."""
        return (*self.groups, *(name for one in self.measures for name in one.partials))


Merge = Keyed | Combined


def keys_of(merge: Merge) -> tuple[str, ...]:
    """Return the columns by which rows of the table are told apart."""
    return merge.key if isinstance(merge, Keyed) else merge.groups


def merge_to_json(merge: Merge) -> dict[str, Any]:
    """Return what contributions must have in common to be merged, as plain values."""
    if isinstance(merge, Keyed):
        return {"key": list(merge.key), "latest_by": list(merge.latest_by)}
    return {"groups": list(merge.groups), "measures": [[one.name, one.function, one.quantile] for one in merge.measures]}


def merge_from_json(document: Mapping[str, Any]) -> Merge:
    """Return the merge of such plain values; measures have lost their arguments."""
    if "key" in document:
        return Keyed(tuple(document["key"]), tuple(document["latest_by"]))
    return Combined(tuple(document["groups"]), tuple(Measure(*one) for one in document["measures"]))


def merge_changed(output: str) -> str:
    """Return what to tell a person whose table was made with another key, or other groups or measures."""
    return (
        f"table {output} was made with another key or latest_by, other groups or measures, or as another kind of output, and "
        f"what the shards contributed then cannot be merged with what they would now: drop it (DROP TABLE {output}) and run "
        f"again, and all of history is computed again; or give the output another name"
    )


def unmergeable(output: str, problem: str) -> str:
    """Return what is wrong with a contribution that another definition made."""
    return (
        f"table {output}: a contribution was made for another key, or other groups or measures, than the table has: {problem}; "
        f"nothing of the group was committed. Run again"
    )


def misfit(merge: Merge, columns: Iterable[str]) -> str | None:
    """Return why a contribution with these columns cannot be merged so; None when it can."""
    have = set(columns)
    want = {*merge.key, *merge.latest_by, *TIE_COLUMNS, DELETED_COLUMN} if isinstance(merge, Keyed) else set(merge.columns)
    lacking, unknown = want - have, have - want if isinstance(merge, Combined) else set()
    if not lacking and not unknown:
        return None
    return f"it lacks {', '.join(sorted(lacking)) or 'nothing'} and brings {', '.join(sorted(unknown)) or 'nothing else'}"


# ---- reading a measure ------------------------------------------------------------------------------------

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\(")
_DISTINCT = re.compile(r"\s*distinct\b", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


def parse_measure(name: str, text: str) -> Measure:
    """Read a measure such as `avg(dep_delay)`. Raises ValueError that says what was expected."""
    call = _CALL.match(text)
    if call is None:
        raise ValueError(f"expected a measure such as count(*) or avg(x): one of {known_measures()}")
    function, argument = call[1].lower(), _inside(text, call.end())
    distinct = _DISTINCT.match(argument)
    if function == "count" and distinct:
        function, argument = "count_distinct", argument[distinct.end() :]
    elif distinct:
        raise ValueError(f"DISTINCT is known in count(DISTINCT x) alone; one of {known_measures()}")
    if function not in PARTIALS or (function == "count_distinct" and not distinct):
        raise ValueError(f"expected one of {known_measures()}")
    quantile = None
    if function == "approx_quantile":
        argument, quantile = _with_share(argument)
    if function == "count" and argument.strip() == "*":
        return Measure(name, function)
    if not argument.strip():
        raise ValueError(f"expected a row expression within {function}(...)")
    return Measure(name, function, quantile, argument.strip())


def known_measures() -> str:
    """Return the measures as people write them."""
    return (
        "count(*), count(x), count(DISTINCT x), sum(x), avg(x), min(x), max(x), variance(x), stddev(x), bool_and(x), bool_or(x), "
        "first(x), last(x), approx_count_distinct(x), approx_quantile(x, 0.9)"
    )


def _inside(text: str, start: int) -> str:
    """Return what stands between the parenthesis before `start` and the one that closes it, which must end the text."""
    depth = 1
    for place, sign in _signs(text, start):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0:
            if text[place + 1 :].strip():
                raise ValueError(
                    f"expected nothing behind {text[: place + 1].strip()}: a measure is one call, of any row expression"
                )
            return text[start:place]
    raise ValueError("expected a closing parenthesis")


def _signs(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Yield the characters outside of quotes, with their places."""
    place = start
    while place < len(text):
        quoted = _QUOTED.match(text, place)
        if quoted:
            place = quoted.end()
            continue
        yield place, text[place]
        place += 1


def _with_share(argument: str) -> tuple[str, str]:
    commas = [place for place, sign in _signs(argument, 0) if sign == ","]
    share = argument[commas[-1] + 1 :].strip() if commas else ""
    try:
        good = 0 <= Decimal(share) <= 1
    except InvalidOperation:
        good = False
    if not good:
        raise ValueError("expected approx_quantile(x, q) with q a number from 0 to 1, such as 0.9")
    return argument[: commas[-1]], share
