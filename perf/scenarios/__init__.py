"""The scenarios: one module a question, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from perf.bench import Bench
from perf.scenarios import (
    at_once,
    bookkeeping,
    commits,
    empty,
    flights,
    formats,
    late,
    memory,
    planning,
    python_steps,
    recovery,
    scale,
    shards,
    start,
    throughput,
    touched,
    workers,
)
from perf.values import Found

SCENARIOS: Mapping[str, Callable[[Bench], Iterable[Found]]] = {
    "throughput": throughput.run,
    "memory": memory.run,
    "shards": shards.run,
    "start": start.run,
    "planning": planning.run,
    "empty": empty.run,
    "commits": commits.run,
    "scale": scale.run,
    "touched": touched.run,
    "late": late.run,
    "recovery": recovery.run,
    "formats": formats.run,
    "flights": flights.run,
    "bookkeeping": bookkeeping.run,
    "python_steps": python_steps.run,
    "workers": workers.run,
    "at_once": at_once.run,
}
