"""The scenarios: one module a question, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from perf.bench import Bench
from perf.scenarios import throughput
from perf.values import Found

SCENARIOS: Mapping[str, Callable[[Bench], Iterable[Found]]] = {
    "throughput": throughput.run,
}
