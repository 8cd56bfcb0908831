"""JSON values of one line: parsed without loss, rendered as text, and fitted to the types of a contract."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import pyarrow as pa

from raypipe.core.datatype import DataType

DEPTH_MAX = 100  # of nested objects and arrays; real events stay below 20, and Python's parser recurses

TEXT_KINDS = frozenset({"string", "decimal", "binary", "date", "time", "timestamp", "timestamptz"})
"""Kinds that arrive as text; all but `string` may stand as a number in JSON too."""

_FLOATS: Final[dict[str, pa.DataType]] = {"float32": pa.float32(), "float64": pa.float64()}
_NATIVE: Final[dict[str, pa.DataType]] = {
    **{str(kind): kind for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.bool_())},
    **{str(kind): kind for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    **_FLOATS,
}
_FLOAT32_END = 2.0**128 - 2.0**103  # from here on, the nearest float32 is infinite
_LONE_SURROGATE = re.compile(r"\\u[dD][89abAB]")
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')
_WHOLE_DIGITS_MAX = 20  # no integer type holds more; Python takes very long to read very many


class JsonNumber(str):
    """A number as its text, so that nothing of it is lost before its column's type is known."""

    __slots__ = ()


class Repeated(dict[str, Any]):
    """An object in which `names` stand more than once."""

    names: frozenset[str] = frozenset()


class MalformedJson(ValueError):
    """A line that is not one JSON object; the text says why."""


class Misfit(ValueError):
    """A value that its column's type cannot hold."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    repeated = Repeated(found)
    repeated.names = frozenset(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return repeated


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(f"got {name}, which is not JSON; expected a number or null")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


def parse_object(line: str) -> dict[str, Any]:
    """Parse a line, without blanks around it, that must be one JSON object; numbers come as JsonNumber."""
    if line.count("{") + line.count("[") > DEPTH_MAX:
        _refuse_deep(line)
    try:
        value, end = _scan(line, 0)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"{error.msg} at character {error.pos + 1}") from None
    except StopIteration as error:
        raise MalformedJson(f"expected a value at character {error.value + 1}") from None
    if not isinstance(value, dict):
        raise MalformedJson(f"got {line[:40]!r}, expected one JSON object")
    if end != len(line):
        raise MalformedJson(f"got {line[end : end + 20]!r} after the object, at character {end + 1}")
    if _LONE_SURROGATE.search(line):
        _refuse_lone_surrogate(value)
    return value


def _refuse_deep(line: str) -> None:
    depth = 0
    for mark in _NESTING.findall(line):
        depth += (mark in "[{") - (mark in "]}")
        if depth > DEPTH_MAX:
            raise MalformedJson(f"is nested deeper than {DEPTH_MAX} objects and arrays")


def _refuse_lone_surrogate(value: dict[str, Any]) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        code = ord(error.object[error.start])
        raise MalformedJson(f"got \\u{code:04x}, half of a surrogate pair, which is no character") from None


def text_of(value: Any) -> str | None:
    """Return a value as text: strings and numbers as they are, null as None, all else as compact JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return whole_text(value) if isinstance(value, JsonNumber) else value
    return _json_text(value)


def whole_text(value: str) -> str:
    """Return a number's text; `-0` as `0`, which it becomes in integers too."""
    return "0" if value == "-0" else str(value)


def _json_text(value: Any) -> str:
    if isinstance(value, JsonNumber):
        return str(value)
    if isinstance(value, dict):
        refuse_repeated(value)
        return "{" + ",".join(f"{_json_text(name)}:{_json_text(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def refuse_repeated(value: Mapping[str, Any], names: frozenset[str] | None = None) -> None:
    """Raise MalformedJson when one of the names (None: any) stands more than once in an object."""
    repeated = value.names if isinstance(value, Repeated) else frozenset()
    repeated = repeated if names is None else repeated & names
    if repeated:
        raise MalformedJson(f"the key {min(repeated)!r} stands more than once in one object")


def arrow_type(kind: DataType) -> pa.DataType:
    """Return the Arrow type in which a column is decoded: JSON's own types as they are, all others as strings."""
    if kind.kind in TEXT_KINDS:
        return pa.string()
    if kind.kind == "list":
        assert kind.item is not None
        return pa.list_(arrow_type(kind.item))
    if kind.kind == "struct":
        return pa.struct([(name, arrow_type(one)) for name, one in kind.fields])
    return _NATIVE[kind.kind]


def fit(value: Any, kind: DataType) -> Any:
    """Return a value as Arrow takes it for a type; raises Misfit, or MalformedJson for a key that is read and repeated."""
    if value is None:
        return None
    if kind.kind == "list":
        return _fit_list(value, kind)
    if kind.kind == "struct":
        return _fit_struct(value, kind)
    if kind.kind in TEXT_KINDS:
        return _fit_text(value, kind)
    if kind.kind == "bool":
        if isinstance(value, bool):
            return value
        raise Misfit
    if not isinstance(value, JsonNumber):
        raise Misfit
    return _fit_float(value, kind) if kind.kind in _FLOATS else _fit_whole(value, kind)


def _fit_list(value: Any, kind: DataType) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit
    assert kind.item is not None
    return [fit(one, kind.item) for one in value]


def _fit_struct(value: Any, kind: DataType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misfit
    refuse_repeated(value, frozenset(name for name, _ in kind.fields))
    return {name: fit(value.get(name), one) for name, one in kind.fields}


def _fit_text(value: Any, kind: DataType) -> str:
    if not isinstance(value, str) or (kind.kind == "string" and isinstance(value, JsonNumber)):
        raise Misfit
    return whole_text(value)


def _fit_float(text: str, kind: DataType) -> float:
    number = float(text)
    if kind.kind == "float64":
        if abs(number) == float("inf"):
            raise Misfit
        return number
    # Through Arrow: rounding to float64 first could give another float32 than rounding once.
    if abs(number) >= _FLOAT32_END:
        raise Misfit
    return float(pa.scalar(text).cast(_FLOATS["float32"]).as_py())


def _fit_whole(text: str, kind: DataType) -> int:
    digits = text.removeprefix("-")
    unsigned = kind.kind.startswith("u")
    if not digits.isdecimal() or len(digits) > _WHOLE_DIGITS_MAX or (unsigned and text is not digits and text != digits):
        raise Misfit
    number, bits = int(text), int(kind.kind.removeprefix("u").removeprefix("int"))
    low, end = (0, 2**bits) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if not low <= number < end:
        raise Misfit
    return number
