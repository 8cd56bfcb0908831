"""What the tables of a history should hold, in plain Python over its events: nothing of raypipe computes here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

URIS = ("a.csv", "b.csv", "c.csv")  # as events number them
Event = Any


def everything(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [one.as_row() for one in events]


def newest(events: Sequence[Event]) -> list[dict[str, Any]]:
    found: dict[Any, tuple[Any, dict[str, Any]]] = {}
    for event in events:
        row = event.as_row()
        age = (row["v"] is not None, row["v"] or 0, event.time_us, URIS[event.source], event.position)
        if row["k"] not in found or age > found[row["k"]][0]:
            found[row["k"]] = (age, row)
    return [row for _, row in found.values() if row["op"] != "d"]


def groups(events: Sequence[Event]) -> list[dict[str, Any]]:
    found: dict[Any, list[Event]] = {}
    for event in events:
        found.setdefault(event.as_row()["g"], []).append(event)
    return [{"g": name, **_measures(members)} for name, members in found.items()]


def _measures(events: Sequence[Event]) -> dict[str, Any]:
    in_time = sorted(events, key=lambda one: (one.time_us, URIS[one.source], one.position))
    x, f, ops = (_known(one.as_row()[name] for one in in_time) for name in ("x", "f", "op"))
    return {
        "n": len(events),
        "known": len(x),
        "total": sum(x) if x else None,
        "mean": sum(f) / len(f) if f else None,
        "var": statistics.variance(f) if len(f) > 1 else None,
        "dev": statistics.stdev(x) if len(x) > 1 else None,
        "least": min(f, default=None),
        "most": max(x, default=None),
        "every": all(one > 2 for one in x) if x else None,
        "some": any(one > 2 for one in x) if x else None,
        "head": x[0] if x else None,
        "tail": ops[-1] if ops else None,
        "kinds": len(set(x)),
        "about": len(set(x)),
        "middle": sorted(f)[math.ceil(len(f) / 2) - 1] if f else None,
    }


def _known(values: Iterable[Any]) -> list[Any]:
    return [one for one in values if one is not None]


def differences(have: Sequence[dict[str, Any]], due: Sequence[dict[str, Any]], *, near: float = 0.0) -> list[str]:
    """Return what differs between two tables without order; numbers may be off by a part of their value."""
    have, due = sorted(have, key=_sorting), sorted(due, key=_sorting)
    if len(have) != len(due):
        return [f"{len(have)} rows, expected {len(due)}: {have} against {due}"]
    return [
        f"{name} of {row} is not {other[name]!r}"
        for row, other in zip(have, due, strict=True)
        for name in other
        if not _alike(row[name], other[name], near)
    ]


def _sorting(row: dict[str, Any]) -> str:
    names = ("g",) if "g" in row and "n" in row else ("k", "v", "op", "g", "x", "f")
    return repr([row[name] for name in names])


def _alike(one: Any, other: Any, near: float) -> bool:
    if one is None or other is None or isinstance(one, (str, bool)):
        return one is other or one == other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= near * float(abs(other))
