"""Packages that are loaded late, or not at all: versions without the library that reads them, and stand-ins for what takes long.

For processes of raypipe's own: the first rows wait for all that is imported.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def installed_version(name: str) -> str | None:
    """Return the version in the name of the folder where a package says what it is; None for one that has none.

    To load what the standard library has for it takes 10 ms, and to read what the package says 2 ms more.
    """
    start, end = f"{name}-", ".dist-info"
    for folder in sys.path:
        for entry in _entries(folder or "."):
            if entry.startswith(start) and entry.endswith(end):
                return entry[len(start) : -len(end)]
    return None


@functools.cache
def _entries(folder: str) -> Sequence[str]:
    try:
        return [one.name for one in Path(folder).iterdir()]
    except OSError:  # named on the path, and not there, or an archive
        return ()


@contextlib.contextmanager
def late(name: str, *, folders: Sequence[str] = (), known: Mapping[str, Callable[..., Any]] = {}) -> Iterator[None]:
    """Let others import functions of a module, for the block, without loading it: it is loaded when one is called.

    `folders` hold its submodules, where it is a package; `known` are functions that need not wait for it.
    """
    if name in sys.modules:
        yield
        return
    stand_in = _StandIn(name)
    vars(stand_in).update(known, **({"__path__": list(folders)} if folders else {}))
    stand_in.enter()
    try:
        yield
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands for a module while others take functions from it."""

    def enter(self) -> None:
        parent, _, child = self.__name__.rpartition(".")
        sys.modules[self.__name__] = self
        if parent in sys.modules:
            setattr(sys.modules[parent], child, self)

    def leave(self) -> None:
        """Make room for the module itself."""
        parent, _, child = self.__name__.rpartition(".")
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        if vars(sys.modules.get(parent, self)).get(child) is self:
            delattr(sys.modules[parent], child)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not name.islower():  # a class is wanted as it is
            self.leave()
            return getattr(importlib.import_module(self.__name__), name)

        def function(*arguments: Any, **named: Any) -> Any:
            self.leave()
            return getattr(importlib.import_module(self.__name__), name)(*arguments, **named)

        return function
