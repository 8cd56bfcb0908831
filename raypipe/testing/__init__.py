"""What ships to users for proving their pipelines: crash tests, shard tests, a clock that stands still, late arrivals, the oracle.

Importing it loads no engine: names are found when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raypipe.testing import oracle
    from raypipe.testing.arrivals import Delivery, late_arrivals
    from raypipe.testing.clock import FrozenClock
    from raypipe.testing.exactly_once import ExactlyOnceReport, NotExactlyOnce, assert_exactly_once
    from raypipe.testing.oracle import NotExact
    from raypipe.testing.shard_invariance import InvarianceReport, NotInvariant, assert_same_for_any_shards
    from raypipe.testing.source_files import write_rows

__all__ = [
    "Delivery",
    "ExactlyOnceReport",
    "FrozenClock",
    "InvarianceReport",
    "NotExact",
    "NotExactlyOnce",
    "NotInvariant",
    "assert_exactly_once",
    "assert_same_for_any_shards",
    "late_arrivals",
    "oracle",
    "write_rows",
]

_ROOMS = {
    "Delivery": "arrivals",
    "ExactlyOnceReport": "exactly_once",
    "FrozenClock": "clock",
    "InvarianceReport": "shard_invariance",
    "NotExact": "oracle",
    "NotExactlyOnce": "exactly_once",
    "NotInvariant": "shard_invariance",
    "assert_exactly_once": "exactly_once",
    "assert_same_for_any_shards": "shard_invariance",
    "late_arrivals": "arrivals",
    "write_rows": "source_files",
}


def __getattr__(name: str) -> Any:
    """Find a name when it is first used."""
    if name == "oracle":
        return import_module("raypipe.testing.oracle")
    if name in _ROOMS:
        return getattr(import_module(f"raypipe.testing.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'raypipe.testing' has no attribute {name!r}")
