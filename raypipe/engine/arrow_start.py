"""Arrow's start: pyarrow looks for numpy when it is loaded, and for pandas the first time it is handed Python values.

To import them takes 0.1 and 0.2 s, and neither is needed. To write a Python function, with its documentation, for each of
Arrow's 286 takes 20 ms, and a run calls some ten.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

from raypipe.pipeline import Pipeline, PythonStep

_loading = threading.Lock()


class _Hidden(MetaPathFinder):
    """Hides a module from the thread that made it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise for the module as if it were not installed; leave all else to the other finders."""
        if fullname == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is hidden while Arrow starts", name=fullname)


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    finder = _Hidden(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def start_arrow(pipeline: Pipeline, *, own_process: bool = False) -> None:
    """Start Arrow before a pipeline is worked on: without pandas, unless a user's function may well use it.

    In a process of raypipe's own it is loaded without numpy too. Where others live in the process they may want to hand
    arrays to Arrow, which takes none from then on.
    """
    if any(isinstance(step, PythonStep) for step in pipeline.transform):
        return
    with _loading:  # threads that meet here wait for the first
        if own_process and "pyarrow" not in sys.modules:
            with _hidden("numpy"):
                _load_functions()  # it looks once more
        start_without_pandas()


_AT_IMPORT = "utf8_zero_fill"  # pyarrow.compute gives it a second name
_KEYWORDS = {"and_": "and", "or_": "or"}


class _OneFunction:
    """Arrow's registry of functions while `pyarrow.compute` is loaded, as if it held one."""

    def __init__(self, registry: Any) -> None:
        self.get_function = registry.get_function

    def list_functions(self) -> list[str]:
        return [_AT_IMPORT]


def _load_functions() -> None:
    """Load `pyarrow.compute` so that it makes each of its functions when it is first asked for."""
    core: Any = importlib.import_module("pyarrow._compute")
    registry = core.function_registry
    core.function_registry = lambda: _OneFunction(registry())
    try:
        functions: Any = importlib.import_module("pyarrow.compute")
    finally:
        core.function_registry = registry
    if not hasattr(functions, "_wrap_function"):  # a version that makes them in another way
        importlib.reload(functions)
        return
    functions.function_registry = registry
    functions.__getattr__ = functools.partial(_function, functions)


def _function(functions: Any, name: str) -> Any:
    """Make one of Arrow's functions, as `pyarrow.compute` would have."""
    try:
        found = functions.function_registry().get_function(_KEYWORDS.get(name, name))
    except KeyError:
        found = None
    if found is None or found.kind == "hash_aggregate" or (found.kind == "scalar_aggregate" and found.arity == 0):
        raise AttributeError(f"module {functions.__name__!r} has no attribute {name!r}")
    made = functions._wrap_function(name, found)
    setattr(functions, name, made)
    return made


def start_without_pandas() -> None:
    """Let pyarrow make its first search for pandas while there is none to be found; where pandas is loaded, do nothing.

    What asks pyarrow for pandas by name (`to_pandas`) makes it search again, and finds it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    with _hidden("pandas"):
        pa.array([None])
