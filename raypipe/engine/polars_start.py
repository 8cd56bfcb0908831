"""Polars' start: what it has for Iceberg tables, 15 ms, is loaded when it is asked for."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

from raypipe.late_packages import late
from raypipe.pipeline import Pipeline, PythonStep


def start_polars(pipeline: Pipeline) -> None:
    """Start Polars in a process of raypipe's own, unless a user's function may want all of it."""
    if "polars" in sys.modules or any(isinstance(step, PythonStep) for step in pipeline.transform):
        return
    found = PathFinder.find_spec("polars")
    folders = [str(Path(one, "io", "iceberg")) for one in (found and found.submodule_search_locations) or ()]
    with late("polars.io.iceberg", folders=folders):
        import polars  # noqa: F401
