"""Casts between typed columns: which fit by their types alone, and which are checked value by value."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import polars as pl

from raypipe.core.datatype import DataType
from raypipe.engine.nested_casts import cast_list, cast_struct
from raypipe.engine.text_types import from_text, instants_of, polars_type, wall_clock


class Fit(enum.Enum):
    """How a column's type fits the type that is wanted."""

    SAME = "same"
    WIDENS = "widens"
    """Every value fits."""
    BY_VALUE = "by value"
    """Some values may not fit; each is checked."""
    NEVER = "never"


def fit(found: pl.DataType, wanted: DataType, zone: str) -> Fit:
    """Tell how a Polars type fits a contract's type."""
    target = polars_type(wanted)
    if found == target:
        return Fit.SAME
    if isinstance(found, pl.Null) or _widens(found, target, zone):
        return Fit.WIDENS
    if found.is_nested() or target.is_nested():
        return _nested_fit(found, wanted, zone)
    return Fit.BY_VALUE if _castable(found, target) else Fit.NEVER


def _widens(found: pl.DataType, target: pl.DataType, zone: str) -> bool:
    if found.is_integer():
        return _integer_widens(found, target)
    match found, target:
        case (pl.Float32(), pl.Float64()) | (pl.Categorical() | pl.Enum(), pl.String()) | (pl.Date(), pl.Datetime()):
            return True
        case (pl.Decimal(), pl.Decimal()):
            whole = (target.precision or 38) - target.scale >= (found.precision or 38) - found.scale
            return whole and target.scale >= found.scale
        case (pl.Datetime(), pl.Datetime()):  # finer digits than microseconds are cut off, as in text
            return found.time_zone is None or target.time_zone is not None or zone == "UTC"
    return False


_BITS: dict[type[pl.DataType], int] = {
    pl.Int8: 7,
    pl.Int16: 15,
    pl.Int32: 31,
    pl.Int64: 63,
    pl.UInt8: 8,
    pl.UInt16: 16,
    pl.UInt32: 32,
    pl.UInt64: 64,
}


def _integer_widens(found: pl.DataType, target: pl.DataType) -> bool:
    bits = _BITS.get(type(found), 128)
    if target.is_integer():
        signs = target.is_signed_integer() or found.is_unsigned_integer()
        return signs and _BITS[type(target)] >= bits
    if isinstance(target, pl.Decimal):
        return (target.precision or 38) - target.scale >= len(str(2**bits))
    return isinstance(target, pl.Float64) or (isinstance(target, pl.Float32) and bits <= 16)


def _nested_fit(found: pl.DataType, wanted: DataType, zone: str) -> Fit:
    """Nested columns fit as the least of what is inside does; a JSON text fits by value."""
    if isinstance(found, pl.String):
        return Fit.BY_VALUE
    if isinstance(found, pl.List) and wanted.item is not None:
        return _least([fit(_instantiated(found.inner), wanted.item, zone)])
    if isinstance(found, pl.Struct) and wanted.fields:
        have = {field.name: _instantiated(field.dtype) for field in found.fields}
        if have.keys() == {name for name, _ in wanted.fields}:
            return _least([fit(have[name], kind, zone) for name, kind in wanted.fields])
    return Fit.NEVER


def _least(fits: list[Fit]) -> Fit:
    return next((one for one in (Fit.NEVER, Fit.BY_VALUE) if one in fits), Fit.WIDENS)


def _instantiated(dtype: Any) -> pl.DataType:
    """Return an inner type as an instance: Polars lets it be a class."""
    found: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return found


def _castable(found: pl.DataType, target: pl.DataType) -> bool:
    if isinstance(found, pl.String) or isinstance(target, pl.String):
        return True
    both = {_family(found), _family(target)}
    return len(both) == 1 or both in ({"number", "bool"}, {"date", "timestamp"}, {"time", "timestamp"}, {"binary", "text"})


def _family(dtype: pl.DataType) -> str:
    if dtype.is_numeric() or isinstance(dtype, pl.Decimal):
        return "number"
    return {
        pl.Boolean: "bool", pl.Date: "date", pl.Time: "time", pl.Datetime: "timestamp",
        pl.Binary: "binary", pl.String: "text", pl.Categorical: "text", pl.Enum: "text",
    }.get(type(dtype), str(dtype))  # fmt: skip


def checked_cast(values: pl.Series, wanted: DataType, zone: str) -> pl.Series:
    """Cast a column; a value that the type cannot hold becomes null, and nothing wraps, rounds to whole or overflows.

    Raises TypeError where the two types have nothing in common.
    """
    found, target = values.dtype, polars_type(wanted)
    match fit(found, wanted, zone):
        case Fit.SAME:
            return values
        case Fit.NEVER:
            raise TypeError(f"{found} cannot become {wanted}")
        case Fit.WIDENS if not isinstance(target, (pl.Datetime, pl.Float64)):
            return values.cast(target)
    if isinstance(found, pl.String):
        return from_text(values, wanted, zone)
    if isinstance(found, pl.Struct):
        return cast_struct(values, wanted, lambda inner, kind: checked_cast(inner, kind, zone))
    if isinstance(found, pl.List) and wanted.item is not None:
        return cast_list(values, wanted.item, lambda inner, kind: checked_cast(inner, kind, zone))
    return _special(found, target)(values, target, zone)


def _special(found: pl.DataType, target: pl.DataType) -> Callable[[pl.Series, pl.DataType, str], pl.Series]:
    if isinstance(target, pl.Datetime):
        return _to_timestamp
    if isinstance(found, pl.Datetime) and found.time_zone is not None:
        return lambda values, target, zone: wall_clock(values, zone).cast(target)
    if target.is_integer() or isinstance(target, (pl.Decimal, pl.Boolean)) or found.is_integer():
        return _exact
    if isinstance(found, pl.Binary) and isinstance(target, pl.String):
        return _utf8
    if isinstance(target, pl.Float32):
        return _finite
    return lambda values, target, _: values.cast(target, strict=False)


def _to_timestamp(values: pl.Series, target: pl.DataType, zone: str) -> pl.Series:
    assert isinstance(target, pl.Datetime)
    found = values.dtype
    if not isinstance(found, pl.Datetime):
        values = values.cast(pl.Datetime("us"))
    elif found.time_unit != "us":
        values = values.dt.cast_time_unit("us")
    if isinstance(found, pl.Datetime) and found.time_zone is not None:
        return values.dt.convert_time_zone("UTC") if target.time_zone else wall_clock(values, zone)
    return instants_of(values, zone) if target.time_zone else values


def _exact(values: pl.Series, target: pl.DataType, _: str) -> pl.Series:
    """Cast and keep only what comes back the same: 1.5 is no integer and 2 no boolean."""
    found = values.dtype
    if isinstance(target, pl.Boolean) and found.is_numeric():
        return _kept_where(values == 1, values, (values == 0) | (values == 1))
    cast = values.cast(target, strict=False)
    if not (found.is_float() or isinstance(found, pl.Decimal) or target.is_float()) or _rounds(found, target):
        return cast
    return _kept_where(cast, values, cast.cast(found, strict=False) == values)


def _rounds(found: pl.DataType, target: pl.DataType) -> bool:
    """Tell whether the cast may round: a float has no exact decimal, and may be wanted as one all the same."""
    return found.is_float() and isinstance(target, pl.Decimal)


def _utf8(values: pl.Series, target: pl.DataType, _: str) -> pl.Series:
    return pl.Series(values.name, [_decoded(one) for one in values.to_list()], dtype=target)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _finite(values: pl.Series, target: pl.DataType, _: str) -> pl.Series:
    cast = values.cast(target, strict=False)
    found = values.cast(pl.Float64, strict=False)
    return _kept_where(cast, values, ~(cast.is_infinite() & found.is_finite()))


def _kept_where(cast: pl.Series, values: pl.Series, keep: pl.Series) -> pl.Series:
    kept = keep.fill_null(False)
    if (kept | values.is_null()).all():
        return cast
    return pl.select(pl.when(pl.lit(kept)).then(pl.lit(cast)).alias(values.name)).to_series()
