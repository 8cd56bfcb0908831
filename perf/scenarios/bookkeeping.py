"""What output digests and the quarantine cost, on the canonical job and on one that keeps its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender, read_once
from perf.canonical import pipeline_text
from perf.contenders import CONFIG, DESTINATION, INLINE, python, raypipe
from perf.events import Events
from perf.values import Found, Work, ratio_figure, short_count

QUESTION = "What do digests of the outputs, and setting 2 % of the rows aside instead of dropping them, cost?"
DROPPED, SET_ASIDE = "otherwise: drop", "otherwise: quarantine"
ROWS_TABLE = "  - table: clean\n    rows: all\ndestination:"
NOTE = (
    "Counts of rows cannot be switched off from outside: every step keeps them. Digests are switched off in the measured "
    "process alone (`perf/without_digests.py`)."
)


def run(bench: Bench) -> Iterator[Found]:
    """Measure with and without, in turn."""
    rows = bench.size(10_000_000, quick=300_000)
    events = bench.events(rows)
    read_once(events.files)
    plain = raypipe("dropped", lambda folder: pipeline_text(events, folder / DESTINATION), *INLINE)
    aside = raypipe("set_aside", lambda folder: _set_aside(events, folder), *INLINE)
    kept = raypipe("rows_kept", lambda folder: _with_rows(events, folder), *INLINE)
    contenders = [plain, _without_digests(plain), aside, kept, _without_digests(kept)]
    series = bench.in_turn(contenders, Work(rows, events.size_bytes, events.shape.days))
    by_name = {one.contender: one for one in series}
    pairs = (("dropped", "dropped_undigested"), ("rows_kept", "rows_kept_undigested"), ("set_aside", "dropped_undigested"))
    figures = tuple(ratio_figure(f"bookkeeping.wall.{a}/{b}", by_name[a], by_name[b]) for a, b in pairs)
    title = f"bookkeeping, {short_count(rows)} rows"
    yield Found("bookkeeping", title, QUESTION, tuple(series), figures, (NOTE,), bench.taken_yardsticks())


def _set_aside(events: Events, folder: Path) -> str:
    text = pipeline_text(events, folder / DESTINATION)
    assert DROPPED in text
    return text.replace(DROPPED, SET_ASIDE)


def _with_rows(events: Events, folder: Path) -> str:
    return pipeline_text(events, folder / DESTINATION).replace("destination:", ROWS_TABLE)


def _without_digests(one: Contender) -> Contender:
    def command(folder: Path) -> list[str]:
        return python("-m", "perf.without_digests", "run", str(folder / CONFIG), "-q", *INLINE)

    return Contender(f"{one.name}_undigested", command, one.prepare)
