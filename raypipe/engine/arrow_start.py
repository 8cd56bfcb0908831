"""Arrow's start: pyarrow looks for pandas the first time it is handed Python values, and to import it takes 0.2 s."""

from __future__ import annotations

import sys
import threading
from importlib.abc import MetaPathFinder

import pyarrow as pa

from raypipe.pipeline import Pipeline, PythonStep


class _Hidden(MetaPathFinder):
    """Hides pandas from the thread that made it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise for pandas as if it were not installed; leave all else to the other finders."""
        if fullname == "pandas" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError("pandas is hidden while Arrow starts", name=fullname)


def start_arrow(pipeline: Pipeline) -> None:
    """Start Arrow before a pipeline is worked on: without pandas, unless a user's function may well use it."""
    if not any(isinstance(step, PythonStep) for step in pipeline.transform):
        start_without_pandas()


def start_without_pandas() -> None:
    """Let pyarrow make its first search for pandas while there is none to be found; where pandas is loaded, do nothing.

    What asks pyarrow for pandas by name (`to_pandas`) makes it search again, and finds it.
    """
    if "pandas" in sys.modules:
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(hidden)
