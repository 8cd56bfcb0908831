"""Arrow's start: pyarrow looks for numpy when it is loaded, and for pandas the first time it is handed Python values.

To import them takes 0.1 and 0.2 s, and neither is needed.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder

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
                import pyarrow.compute  # noqa: F401  (it looks once more)
        start_without_pandas()


def start_without_pandas() -> None:
    """Let pyarrow make its first search for pandas while there is none to be found; where pandas is loaded, do nothing.

    What asks pyarrow for pandas by name (`to_pandas`) makes it search again, and finds it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    with _hidden("pandas"):
        pa.array([None])
