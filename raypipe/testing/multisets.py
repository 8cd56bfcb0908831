"""Multisets of rows, compared without regard to shards; floats may differ in their last digits."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pyarrow as pa

from raypipe.ports import SHARD_COLUMN

Facts = Counter[tuple[Any, ...]]
"""Rows as (start of the shard, JSON text), with how often each is there."""


def unmatched(own: Facts, other: Facts, schema: pa.Schema, tolerance: float) -> tuple[Facts, Facts]:
    """Return the rows of each side that the other lacks; two rows that differ in floats only, by less than this, are one."""
    mine, theirs = _by_text(own), _by_text(other)
    lost, extra = mine - theirs, theirs - mine
    floats = [_has_floats(field.type) for field in schema if field.name != SHARD_COLUMN]
    if any(floats):
        _take_close_out(lost, extra, floats, tolerance)
    return _with_shards(lost, own), _with_shards(extra, other)


def _by_text(facts: Facts) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, text), count in facts.items():
        found[text] += count
    return found


def _with_shards(texts: Counter[str], facts: Facts) -> Facts:
    shards = {text: shard for shard, text in sorted(facts, reverse=True)}
    return Counter({(shards[text], text): count for text, count in texts.items() if count > 0})


def _take_close_out(lost: Counter[str], extra: Counter[str], floats: list[bool], tolerance: float) -> None:
    """Remove pairs of rows, one of each side, that are equal but for the last digits of floats."""
    waiting: dict[str, list[tuple[list[Any], str]]] = {}
    for text in extra.elements():
        rigid, values = _split(text, floats)
        waiting.setdefault(rigid, []).append((values, text))
    for text in list(lost.elements()):
        rigid, values = _split(text, floats)
        candidates = waiting.get(rigid, [])
        match = next((one for one in candidates if _close(values, one[0], tolerance)), None)
        if match is not None:
            candidates.remove(match)
            lost[text] -= 1
            extra[match[1]] -= 1


def _split(text: str, floats: list[bool]) -> tuple[str, list[Any]]:
    values = json.loads(text)
    rigid = [None if soft else value for value, soft in zip(values, floats, strict=True)]
    return json.dumps(rigid), [value for value, soft in zip(values, floats, strict=True) if soft]


def _close(one: Any, other: Any, tolerance: float) -> bool:
    match one, other:
        case (list(), list()):
            return len(one) == len(other) and all(_close(a, b, tolerance) for a, b in zip(one, other, strict=True))
        case (dict(), dict()):
            return one.keys() == other.keys() and all(_close(value, other[name], tolerance) for name, value in one.items())
        case (bool(), _) | (_, bool()):
            return bool(one is other)
        case (int() | float(), int() | float()):
            return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
        case _:
            return bool(one == other)


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        return True
    return any(_has_floats(kind.field(place).type) for place in range(kind.num_fields))
