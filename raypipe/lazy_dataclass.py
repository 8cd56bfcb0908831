"""dataclass: the standard library's decorator, with methods that are written when they are first called.

The standard one writes and compiles six methods for every class when a module is imported: 1 ms each, a third of what a command
that finds nothing to do took. Most of those are never called. Type checkers see the standard decorator.
"""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, kw_only: bool = False, order: bool = False
    ) -> Any:
        """Decorate as `dataclasses.dataclass` does, with the options that raypipe's values use."""

        def decorate(undecorated: type) -> type:
            own = undecorated.__dict__
            if undecorated.__doc__ is None:  # the standard one would write a signature there, which takes 4 ms
                undecorated.__doc__ = undecorated.__name__
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(undecorated)
            added: dict[str, Any] = {"__init__": _late("__init__", made, _init_of), "__repr__": _repr}
            if "__eq__" not in own:
                added["__eq__"] = _late("__eq__", made, _comparison("=="))
                added["__hash__"] = _late("__hash__", made, _hash_of) if frozen else None
            if order:
                added.update({name: _late(name, made, _comparison(operator)) for name, operator in _COMPARISONS.items()})
            if frozen:
                added.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete)
            if frozen and slots:
                added.update(__getstate__=_state, __setstate__=_set_state)
            for name, value in added.items():
                if name not in own or (name == "__hash__" and own[name] is None):
                    setattr(made, name, value)
            return made

        return decorate if cls is None else decorate(cls)


_COMPARISONS = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


def _late(name: str, owner: type, write: Callable[[type], Callable[..., Any]]) -> Callable[..., Any]:
    """Return a method that puts the written one in its place and calls it."""

    def method(self: object, *arguments: Any, **named: Any) -> Any:
        written = write(owner)
        written.__qualname__ = f"{owner.__qualname__}.{name}"
        setattr(owner, name, written)
        return written(self, *arguments, **named)

    method.__name__ = name
    method.__qualname__ = f"{owner.__qualname__}.{name}"
    return method


# ---- written when first called ----------------------------------------------------------------------------


def _init_of(cls: type) -> Callable[..., None]:
    """Write `__init__`: a slot is set by its descriptor, which no `__setattr__` stands before."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_made": dataclasses.MISSING}
    lines: list[str] = []
    positional: list[str] = []
    named: list[str] = []
    for field in dataclasses.fields(cls):
        name, value = field.name, field.name
        parameter = name
        if field.default_factory is not dataclasses.MISSING:
            known[f"_new_{name}"], parameter = field.default_factory, f"{name}=_made"
            value = f"_new_{name}() if {name} is _made else {name}" if field.init else f"_new_{name}()"
        elif field.default is not dataclasses.MISSING:
            known[f"_default_{name}"], parameter = field.default, f"{name}=_default_{name}"
            value = name if field.init else f"_default_{name}"
        if field.init:
            (named if field.kw_only else positional).append(parameter)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            continue  # `__post_init__` sets it
        lines.append(_setting(cls, name, value, known))
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    parameters = ["self", *positional, *(["*", *named] if named else [])]
    return _written("__init__", parameters, lines or ["pass"], known)


def _setting(cls: type, name: str, value: str, known: dict[str, Any]) -> str:
    descriptor = getattr(cls, name, None)
    if isinstance(descriptor, types.MemberDescriptorType):
        known[f"_set_{name}"] = descriptor.__set__
        return f"_set_{name}(self, {value})"
    return f"_set(self, {name!r}, {value})"


def _comparison(operator: str) -> Callable[[type], Callable[..., bool]]:
    def write(cls: type) -> Callable[..., bool]:
        names = [field.name for field in dataclasses.fields(cls) if field.compare]
        lines = [
            "if other.__class__ is not self.__class__:",
            " return NotImplemented",
            f"return {_tuple_of('self', names)} {operator} {_tuple_of('other', names)}",
        ]
        return _written("compare", ["self", "other"], lines, {})

    return write


def _hash_of(cls: type) -> Callable[..., int]:
    compared = [field for field in dataclasses.fields(cls) if (field.compare if field.hash is None else field.hash)]
    return _written("__hash__", ["self"], [f"return hash({_tuple_of('self', [one.name for one in compared])})"], {})


def _tuple_of(owner: str, names: Sequence[str]) -> str:
    return "(" + "".join(f"{owner}.{name}, " for name in names) + ")"


def _written(name: str, parameters: Sequence[str], lines: Sequence[str], known: dict[str, Any]) -> Callable[..., Any]:
    text = f"def {name}({', '.join(parameters)}):\n" + "".join(f" {line}\n" for line in lines)
    exec(text, known)  # noqa: S102  names of fields alone, as the standard library does
    method: Callable[..., Any] = known[name]
    return method


# ---- the same for every class -----------------------------------------------------------------------------


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[object]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
