"""Mutants: deliberate mistakes, each a real function of raypipe replaced by one that lacks a guard."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from raypipe.lazy_dataclass import dataclass

Change = Callable[[Any], Any]
"""Takes the real function and returns the one that stands in its place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One deliberate mistake."""

    name: str
    mistake: str
    changes: tuple[tuple[str, Change], ...]
    """`package.module:attribute` or `package.module:Class.attribute`, and what becomes of it."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Make the mistake for as long as the block lasts."""
        with contextlib.ExitStack() as stack:
            for target, change in self.changes:
                stack.enter_context(patched(target, change))
            yield


@contextlib.contextmanager
def patched(target: str, change: Change) -> Iterator[None]:
    """Replace an attribute for as long as the block lasts."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    real = vars(owner)[name]
    setattr(owner, name, change(real))
    try:
        yield
    finally:
        setattr(owner, name, real)


def always(value: Any) -> Change:
    """Replace a function by one that always returns this."""
    return lambda real: lambda *args, **named: value
