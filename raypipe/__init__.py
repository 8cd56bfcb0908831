"""raypipe: time-partitioned data pipelines on Ray, exactly once. This page is the public API.

Importing it loads no engine. The verbs are those of the command line: `load` a YAML file or write a `Pipeline`,
then `run` or `backfill` it, `accept` a difference, and ask `plan`, `status` and `verify`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import Width, parse_width
from raypipe.core.datatype import DataType, parse_datatype
from raypipe.core.retry import Retries
from raypipe.core.window import Window, from_us, to_us
from raypipe.errors import RaypipeError
from raypipe.pipeline import (
    Cast,
    Check,
    Column,
    CsvDialect,
    Deduplicate,
    Derive,
    Drop,
    DuckDBDestination,
    EventTime,
    FilesSource,
    FillNull,
    Filter,
    GroupByOutput,
    Lookup,
    MaxQuarantined,
    Pipeline,
    PythonStep,
    Quality,
    Ready,
    Rename,
    RowsOutput,
    Rule,
    RunOptions,
    Select,
    SqlOutput,
    TableSource,
)

if TYPE_CHECKING:
    from raypipe.launch import load, status, verify
    from raypipe.launch.python_verbs import accept, backfill, compact, plan, run

__version__ = "0.1.0"

__all__ = [
    "Cast",
    "Check",
    "Column",
    "CsvDialect",
    "DataType",
    "Deduplicate",
    "Derive",
    "Drop",
    "DuckDBDestination",
    "EventTime",
    "FilesSource",
    "FillNull",
    "Filter",
    "GroupByOutput",
    "Lookup",
    "MaxQuarantined",
    "Pipeline",
    "PythonStep",
    "Quality",
    "RaypipeError",
    "Ready",
    "Rename",
    "Retries",
    "RowsOutput",
    "Rule",
    "RunOptions",
    "Select",
    "SqlOutput",
    "TableSource",
    "Width",
    "Window",
    "accept",
    "backfill",
    "compact",
    "from_us",
    "load",
    "parse_datatype",
    "parse_width",
    "plan",
    "run",
    "status",
    "to_us",
    "verify",
]

_VERBS = {
    "accept": "raypipe.launch.python_verbs",
    "backfill": "raypipe.launch.python_verbs",
    "compact": "raypipe.launch.python_verbs",
    "load": "raypipe.launch",
    "plan": "raypipe.launch.python_verbs",
    "run": "raypipe.launch.python_verbs",
    "status": "raypipe.launch",
    "verify": "raypipe.launch",
}


def __getattr__(name: str) -> Any:
    """Find a verb when it is first used: the composition root is not needed to write a pipeline down."""
    if name in _VERBS:
        return getattr(import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'raypipe' has no attribute {name!r}")
