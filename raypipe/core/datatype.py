"""DataType: the type words of a contract (`int64`, `decimal(10,2)`, `list<string>`), parsed into a value."""

from __future__ import annotations

import re

from raypipe.lazy_dataclass import dataclass

SIMPLE = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "bool", "float32", "float64", "string", "binary", "date", "time", "timestamp", "timestamptz",
)  # fmt: skip

_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class DataType:
    """`kind` is a simple name, `decimal`, `list` or `struct`; `timestamp` is naive, `timestamptz` UTC, both microseconds."""

    kind: str
    precision: int = 0
    scale: int = 0
    item: DataType | None = None
    fields: tuple[tuple[str, DataType], ...] = ()

    def __str__(self) -> str:
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.kind == "list":
            return f"list<{self.item}>"
        if self.kind == "struct":
            return "struct<" + ", ".join(f"{name}: {kind}" for name, kind in self.fields) + ">"
        return self.kind


def parse_datatype(text: str) -> DataType:
    """Parse a type word; raises ValueError that says what is expected."""
    kind, rest = _parse(text.strip())
    if rest.strip():
        raise ValueError(f"got {text!r}: {rest.strip()!r} is left over")
    return kind


def _parse(text: str) -> tuple[DataType, str]:
    text = text.lstrip()
    if decimal := _DECIMAL.match(text):
        return _decimal(int(decimal[1]), int(decimal[2])), text[decimal.end() :]
    name = _NAME.match(text)
    if name is None:
        raise ValueError(f"got {text!r}, expected a type such as int64, string, decimal(10,2) or list<string>")
    word, rest = name[0], text[name.end() :].lstrip()
    if word == "list" and rest.startswith("<"):
        item, rest = _parse(rest[1:])
        return DataType("list", item=item), _expect(rest, ">")
    if word == "struct" and rest.startswith("<"):
        return _struct(rest[1:])
    if word not in SIMPLE:
        raise ValueError(f"got {word!r}, expected one of {', '.join(SIMPLE)}, decimal(p,s), list<T>, struct<name: T>")
    return DataType(word), rest


def _decimal(precision: int, scale: int) -> DataType:
    if not (1 <= precision <= 38 and scale <= precision):
        raise ValueError(f"got decimal({precision},{scale}), expected 1 to 38 digits and no more behind the point")
    return DataType("decimal", precision=precision, scale=scale)


def _struct(text: str) -> tuple[DataType, str]:
    fields: list[tuple[str, DataType]] = []
    while True:
        name = _NAME.match(text := text.lstrip())
        if name is None:
            raise ValueError(f"got {text!r}, expected a field such as `name: string`")
        kind, rest = _parse(_expect(text[name.end() :], ":"))
        fields.append((name[0], kind))
        rest = rest.lstrip()
        if rest.startswith(","):
            text = rest[1:]
            continue
        return DataType("struct", fields=tuple(fields)), _expect(rest, ">")


def _expect(text: str, mark: str) -> str:
    text = text.lstrip()
    if not text.startswith(mark):
        raise ValueError(f"expected {mark!r} at {text!r}")
    return text[1:]
