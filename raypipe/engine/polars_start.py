"""Polars' start: what it has for Iceberg tables is loaded when it is asked for.

To import it takes 15 ms, most of it for the standard library's `importlib.metadata`, which nothing else in a run needs.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from raypipe.pipeline import Pipeline, PythonStep

_LATE = "polars.io.iceberg"


def start_polars(pipeline: Pipeline) -> None:
    """Start Polars in a process of raypipe's own, unless a user's function may want all of it."""
    if "polars" in sys.modules or any(isinstance(step, PythonStep) for step in pipeline.transform):
        return
    found = PathFinder.find_spec("polars")
    stand_in = _StandIn(_LATE)
    stand_in.__path__ = [str(Path(folder, "io", "iceberg")) for folder in (found and found.submodule_search_locations) or ()]
    sys.modules[_LATE] = stand_in
    try:
        import polars  # noqa: F401
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands for a package while others take functions from it: these load the package when they are called."""

    def leave(self) -> None:
        """Make room for the package itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not name.islower():  # a class is wanted as it is
            self.leave()
            return getattr(importlib.import_module(self.__name__), name)

        def function(*arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*arguments, **named)

        return function
