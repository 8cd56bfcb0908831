"""Text to typed values: every type of a contract from its written form; null where the text is not one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import polars as pl

from raypipe.core.datatype import DataType, parse_datatype

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SECONDS = r"[0-9]{2}:[0-9]{2}:[0-5][0-9]"  # a leap second is no time of any engine
LOOKED_AT = 1_000  # values at the beginning of a column that tell whether they repeat
REPEATED = 4  # times: a time takes four times as long to read as to be found among those that were
_BOOL_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def polars_type(kind: DataType) -> pl.DataType:
    """Return the Polars type of a contract's type; times are microseconds, `timestamptz` is in UTC."""
    match kind.kind:
        case "decimal":
            return pl.Decimal(kind.precision, kind.scale)
        case "list":
            assert kind.item is not None
            return pl.List(polars_type(kind.item))
        case "struct":
            return pl.Struct([pl.Field(name, polars_type(item)) for name, item in kind.fields])
        case simple:
            return _SIMPLE[simple]


def source_schema(columns: Mapping[str, str]) -> dict[str, pl.DataType]:
    """Return the Polars types of a source's columns (Source.columns); raises ValueError for a word that is no type."""
    return {name: polars_type(parse_datatype(word)) for name, word in columns.items()}


_SIMPLE: dict[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int8": pl.Int8(), "int16": pl.Int16(), "int32": pl.Int32(), "int64": pl.Int64(),
    "uint8": pl.UInt8(), "uint16": pl.UInt16(), "uint32": pl.UInt32(), "uint64": pl.UInt64(),
    "float32": pl.Float32(), "float64": pl.Float64(),
    "string": pl.String(), "binary": pl.Binary(),
    "date": pl.Date(), "time": pl.Time(), "timestamp": pl.Datetime("us"), "timestamptz": pl.Datetime("us", "UTC"),
}  # fmt: skip


def from_text(text: pl.Series, kind: DataType, zone: str) -> pl.Series:
    """Convert text to a type; what cannot be converted becomes null.

    Blanks around a value do not count, except in `string` and `binary`. Integers are digits with a sign; floats know
    `inf` and `nan`; booleans are true, false, t, f, 1 or 0 in any case; decimals are exact; dates and times are
    ISO 8601. A timestamp with an offset is the instant that it names; one without is wall clock in `zone`. Lists and
    structs are JSON. `binary` is the text's UTF-8.
    """
    if kind.kind == "string":
        return text
    if kind.kind == "binary":
        return text.cast(pl.Binary)
    read = _reader(kind, zone)
    values = read(text)
    if kind.kind in ("list", "struct") or values.null_count() == text.null_count():
        return values
    # Blanks are rare: only the values that failed pay for their removal.
    places = (values.is_null() & text.is_not_null()).arg_true()
    again = text.gather(places).str.strip_chars(" \t")
    return values.scatter(places, read(again))


def _reader(kind: DataType, zone: str) -> Callable[[pl.Series], pl.Series]:
    target = polars_type(kind)
    readers: dict[str, Callable[[pl.Series], pl.Series]] = {
        "bool": _bools,
        "float32": lambda text: _floats(text, target),
        "float64": lambda text: _floats(text, target),
        "decimal": lambda text: _decimals(text, kind),
        "date": lambda text: _kept(text, rf"^{_DATE}$").str.to_date("%Y-%m-%d", strict=False),
        "time": _times,
        "timestamp": lambda text: _timestamps(text, zone, aware=False),
        "timestamptz": lambda text: _timestamps(text, zone, aware=True),
        "list": lambda text: _nested(text, kind, zone),
        "struct": lambda text: _nested(text, kind, zone),
    }
    return readers.get(kind.kind) or (lambda text: text.cast(target, strict=False))


def _bools(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().replace_strict(_BOOL_WORDS, default=None, return_dtype=pl.Boolean)


def _kept(text: pl.Series, pattern: str) -> pl.Series:
    """Return the text where it matches, null elsewhere: the engines' own parsers are more lenient than we are."""
    matches = text.str.contains(pattern)
    return text if matches.all() else text.to_frame("t").select(pl.when(pl.lit(matches)).then("t")).to_series()


def _floats(text: pl.Series, target: pl.DataType) -> pl.Series:
    values = text.cast(target, strict=False)
    endless = values.is_infinite().fill_null(False)
    if not endless.any():
        return values
    overflow = endless & ~text.str.contains("(?i)inf").fill_null(False)  # 1e400 is out of range, `inf` is a value
    return values.set(overflow, None)


def _decimals(text: pl.Series, kind: DataType) -> pl.Series:
    fraction = rf"(\.[0-9]{{0,{kind.scale}}}0*)?" if kind.scale else r"(\.0*)?"
    return _kept(text, rf"^[+-]?[0-9]+{fraction}$|^[+-]?\.[0-9]{{1,{max(kind.scale, 1)}}}$").cast(polars_type(kind), strict=False)


def _times(text: pl.Series) -> pl.Series:
    kept = _kept(text, rf"^([0-9]{{2}}:[0-9]{{2}}|{_SECONDS}(\.[0-9]{{1,9}})?)$")
    short = kept.str.len_bytes() == 5
    if short.any():
        kept = kept.to_frame("t").select(pl.when(pl.lit(short)).then(pl.col("t") + ":00").otherwise("t")).to_series()
    return kept.str.to_time("%H:%M:%S%.f", strict=False)


# ---- timestamps -------------------------------------------------------------------------------------------


def _timestamp_forms() -> list[tuple[str, str]]:
    """List (pattern, strptime format) of all ISO forms; exact forms come first, for Polars parses these much faster."""
    times = [(_SECONDS, "%H:%M:%S"), (_SECONDS + r"\.[0-9]{1,9}", "%H:%M:%S%.f"), (r"[0-9]{2}:[0-9]{2}", "%H:%M")]
    zones = [("Z", "Z"), ("", ""), (r"[+-][0-9]{2}:?[0-9]{2}", "%z"), (r"[+-][0-9]{2}", "%#z")]
    forms = [
        (f"^{_DATE}{separator}{time}{zone}$", f"%Y-%m-%d{separator}{time_format}{zone_format}")
        for time, time_format in times
        for zone, zone_format in zones
        for separator in ("T", " ")
    ]
    return [*forms, (f"^{_DATE}$", "%Y-%m-%d")]


_FORMS = _timestamp_forms()
_LIKE_A_FORM = rf"^{_DATE}([T ][0-9]{{2}}:[0-9]{{2}}.*)?$"  # what does not even look like one is not tried against each


def _timestamps(text: pl.Series, zone: str, *, aware: bool) -> pl.Series:
    if len(text) > LOOKED_AT and text.head(LOOKED_AT).n_unique() < LOOKED_AT // REPEATED:
        return _once_each(text, lambda distinct: _read_timestamps(distinct, zone, aware=aware))
    return _read_timestamps(text, zone, aware=aware)


def _once_each(text: pl.Series, read: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Read each distinct text once. Codes of categories made for it alone count them from 0."""
    kind = pl.Categorical(pl.Categories.random())
    coded = text.cast(kind)  # as long as it lives, the categories are known
    codes = coded.to_physical()
    last = cast("int | None", codes.max())
    distinct = pl.int_range(0 if last is None else last + 1, dtype=pl.UInt32, eager=True).cat.to(kind).cast(pl.String)
    return read(distinct).gather(codes)


def _read_timestamps(text: pl.Series, zone: str, *, aware: bool) -> pl.Series:
    values = pl.Series(text.name, [], dtype=pl.Datetime("us", "UTC" if aware else None)).extend_constant(None, len(text))
    pending: pl.Series | None = None
    for pattern, form in _ordered_forms(text):
        here = text.str.contains(pattern)
        if here.all():  # but for nulls, which stay so
            return _parse_form(text, form, zone, aware=aware)
        here = here.fill_null(False)
        if pending is None:  # not before the first form: a column that is all of one form is looked at once
            pending = text.str.contains(_LIKE_A_FORM).fill_null(False)
        here = pending & here
        if not pending.any():
            break
        if not here.any():
            continue
        places = here.arg_true()
        values = values.scatter(places, _parse_form(text.gather(places), form, zone, aware=aware))
        pending = pending & ~here
    return values


def _ordered_forms(text: pl.Series) -> list[tuple[str, str]]:
    """Return the forms with that of the first value in front: a column is nearly always written in one form."""
    first = cast("str | None", text.first(ignore_nulls=True))
    if first is None:
        return []
    for form in _FORMS:
        if re.match(form[0], first):
            return [form, *(other for other in _FORMS if other is not form)]
    return _FORMS


def _parse_form(text: pl.Series, form: str, zone: str, *, aware: bool) -> pl.Series:
    if form == "%Y-%m-%d":
        parsed = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    else:
        parsed = text.str.to_datetime(form, strict=False, time_unit="us")
    if form.endswith(("z", "Z")):
        instants = parsed.dt.replace_time_zone("UTC")
        return instants if aware else wall_clock(instants, zone)
    return instants_of(parsed, zone) if aware else parsed


def instants_of(naive: pl.Series, zone: str) -> pl.Series:
    """Return the instants of wall-clock times: the first of two, null for one that never occurs."""
    if zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def wall_clock(instants: pl.Series, zone: str) -> pl.Series:
    """Return the wall-clock times of instants in a zone."""
    return instants.dt.convert_time_zone(zone).dt.replace_time_zone(None)


# ---- lists and structs: JSON, value by value --------------------------------------------------------------


def _nested(text: pl.Series, kind: DataType, zone: str) -> pl.Series:
    values = [None if one is None else _decode(one, kind, zone) for one in text.to_list()]
    return pl.Series(text.name, values, dtype=polars_type(kind), strict=True)


def _decode(text: str, kind: DataType, zone: str) -> Any:
    try:
        return _typed(json.loads(text), kind, zone)
    except (ValueError, RecursionError):
        return None


def _typed(value: Any, kind: DataType, zone: str) -> Any:
    """Return a JSON value as the type wants it; raises ValueError when it is another."""
    if value is None:
        return None
    if kind.kind == "list":
        assert kind.item is not None
        return [_typed(one, kind.item, zone) for one in _instance(value, list)]
    if kind.kind == "struct":
        fields = _instance(value, dict)
        return {name: _typed(fields.get(name), item, zone) for name, item in kind.fields}
    if kind.kind in ("string", "binary"):
        return _instance(value, str)
    if isinstance(value, (dict, list)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r} is not a {kind}")
    word = value if isinstance(value, str) else json.dumps(value)
    typed = from_text(pl.Series([word], dtype=pl.String), kind, zone)[0]
    if typed is None:
        raise ValueError(f"{value!r} is not a {kind}")
    return typed


def _instance(value: Any, expected: type[Any]) -> Any:
    if not isinstance(value, expected):
        raise ValueError(f"{value!r} is not a {expected.__name__}")
    return value
