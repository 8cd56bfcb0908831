"""Peak memory as the input grows while shards stay the same."""

from __future__ import annotations

from collections.abc import Iterator

from perf.bench import Bench, read_once
from perf.contenders import canonical
from perf.values import Figure, Found, Series, Work

QUESTION = "Does the peak grow with the input, when the size of a shard does not?"
ROWS_A_DAY = 100_000
DAYS, QUICK_DAYS = (10, 40, 160), (3, 9)  # the first run is too short to reach the height of the others: it is shown, not compared


def run(bench: Bench) -> Iterator[Found]:
    """Measure more and more days of the same size."""
    series: list[Series] = []
    for days in QUICK_DAYS if bench.quick else DAYS:
        events = bench.events(days * ROWS_A_DAY, days)
        read_once(events.files)
        work = Work(events.shape.rows, events.size_bytes, days)
        series += bench.in_turn([canonical("raypipe", events)], work)
    before, last = (one.median("peak_bytes") for one in series[-2:])
    figure = Figure("memory.growth", last / before, "times")
    title = f"memory, days of {ROWS_A_DAY:,} rows"
    yield Found("memory", title, QUESTION, tuple(series), (figure,), noise=bench.taken_yardsticks())
