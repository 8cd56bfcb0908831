"""assert_same_for_any_shards: tables may depend neither on how time is cut into shards nor on the order in which these are done."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raypipe import launch
from raypipe.core.calendar import Calendar, Width, parse_width
from raypipe.core.window import iso
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.runtime.system_clock import SystemClock
from raypipe.testing.clock import SteppedClock
from raypipe.testing.held import Held, differences, held
from raypipe.testing.multisets import Facts, unmatched
from raypipe.testing.scratch import Input, Scratch, scratch
from raypipe.testing.stepping import Conduct, Pick, last, step_run

SHARDS_MAX = 20_000  # of the narrowest width: a sample that needs more says nothing that a shorter one does not
TASKS = 16  # whose order is changed


def _shuffled(seed: int) -> Pick:
    draw = random.Random(seed)  # noqa: S311 (reproducible on purpose)
    return lambda waiting: draw.randrange(len(waiting))


ORDERS: Mapping[str, Callable[[], Pick]] = {
    "backward": lambda: last,
    "shuffled": lambda: _shuffled(1),
    "shuffled again": lambda: _shuffled(2),
}
"""Orders of work, besides that of time."""


class NotInvariant(AssertionError):
    """A table depends on how time is cut into shards, or on their order. `boundary` is an instant at which a cut matters."""

    def __init__(self, text: str, *, table: str | None = None, boundary: str | None = None, row: str | None = None) -> None:
        self.table = table
        self.boundary = boundary
        self.row = row
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class InvarianceReport:
    """What gave the same tables."""

    shards: Mapping[str, int]
    """By width, how many shards the input was cut into."""
    orders: tuple[str, ...]
    tables: Mapping[str, int]
    """By table, its rows."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """The outcome of one width."""

    width: str
    calendar: Calendar
    shards: int
    held: Held


def assert_same_for_any_shards(
    pipeline: Pipeline | str | Path,
    input: Input | None = None,  # noqa: A002 (the word of the field)
    *,
    widths: Sequence[str] = ("1h", "6h", "1d"),
    orders: Sequence[str] = tuple(ORDERS),
    tolerance: float = 1e-9,
) -> InvarianceReport:
    """Run a pipeline with its own shards, in several orders, and with those of other widths; raise NotInvariant where it matters.

    `pipeline` and `input` are those of `assert_exactly_once`: nothing outside of a scratch folder is touched. In every order
    (`backward`, `shuffled`, `shuffled again`) tables must be the same to the bit. For every width they must hold the same rows,
    whatever shard these stand in: integers, decimals, text and times equal, floats but for `tolerance`, relative, because sums are
    taken in other parts; rows set aside and the accounts in total must be the same too. The failure names the table, a boundary
    between shards at which a cut makes a difference, and a row.
    """
    unknown = sorted(set(orders) - set(ORDERS))
    if unknown:
        raise ValueError(f"got the order {unknown[0]!r}, expected {', '.join(ORDERS)}")
    with scratch(pipeline, input) as one:
        cuts = [one.pipeline.time.shard, *map(parse_width, widths)]
        trial = _Trial(one, SystemClock().now_us(), tuple(dict.fromkeys(cuts)))
        return trial.compared(orders, tolerance)


@dataclass(slots=True)
class _Trial:
    """Runs of one pipeline over one input at one moment."""

    scratch: Scratch
    now_us: int
    widths: tuple[Width, ...]

    def compared(self, orders: Sequence[str], tolerance: float) -> InvarianceReport:
        ask = self._window()
        own = self._cut(self.widths[0], ask)
        for order in orders:
            self._compare_order(own, order, ask)
        cuts = [own, *(self._cut(width, ask) for width in self.widths[1:])]
        for cut in cuts[1:]:
            _compare(own, cut, tolerance)
        rows = {name: table.num_rows for name, table in own.held.rows.items()}
        return InvarianceReport({cut.width: cut.shards for cut in cuts}, tuple(orders), rows)

    @property
    def _clock(self) -> SteppedClock:
        return SteppedClock(self.now_us)

    def _at(self, place: str, width: Width) -> Pipeline:
        one = self.scratch.at(place.replace(" ", "-"))
        return replace(one, time=replace(one.time, shard=width, end_us=self._end_us()))

    def _end_us(self) -> int:
        """Return where all widths end: without `time.end`, where the last shard that is ready by all of them does."""
        time = self.scratch.pipeline.time
        if time.end_us is not None:
            return time.end_us
        ready = [Parts(replace(self.scratch.pipeline, time=replace(time, shard=one)), self._clock).ready for one in self.widths]
        return min(time.start_us if one.window is None else one.window.end_us for one in ready)

    def _window(self) -> Ask:
        """Plan once: only the part of history counts in which the input has rows."""
        widest = max(self.widths, key=_length_us)
        shards = [one for one in self._planned(widest, Ask()) if one.slices]
        if not shards:
            raise ValueError("the input has no rows in the history: there is nothing to compare")
        ask = Ask(start_us=shards[0].window.start_us, end_us=min(shards[-1].window.end_us, self._end_us()))
        assert ask.start_us is not None
        assert ask.end_us is not None
        narrowest = min(self.widths, key=_length_us)
        count = (ask.end_us - ask.start_us) // _length_us(narrowest)
        if count > SHARDS_MAX:
            raise ValueError(
                f"the input spans {count:,} shards of {narrowest}, expected at most {SHARDS_MAX:,}: give a shorter sample"
            )
        return ask

    def _planned(self, width: Width, ask: Ask) -> Sequence[Any]:
        return launch.plan(self._at(f"plan-{width}", width), ask, self._clock).plan.shards

    def _cut(self, width: Width, ask: Ask) -> _Cut:
        pipeline = self._at(f"width-{width}", width)
        closed = self._run(pipeline, ask, Conduct(run_id="first"))
        calendar = Calendar(pipeline.time.start_us, width, pipeline.time.zone)
        return _Cut(str(width), calendar, closed, held(pipeline, self._clock))

    def _compare_order(self, own: _Cut, order: str, ask: Ask) -> None:
        pipeline = self._at(f"order-{order}", self.widths[0])
        share = max(1, -(-own.shards // TASKS))
        self._run(pipeline, ask, Conduct(run_id="first", pick=ORDERS[order](), task_shards_max=share))
        found = differences(own.held, pipeline, self._clock)
        if found:
            lines = "".join(f"\n  {one}" for one in found)
            raise NotInvariant(f"pipeline {pipeline.name}: with its shards done {order}, other than in the order of time:{lines}")

    def _run(self, pipeline: Pipeline, ask: Ask, conduct: Conduct) -> int:
        closed = step_run(pipeline, ask, self.now_us, conduct)
        if closed.status != "done":
            failures = "; ".join(f"{one.window}: {one.error}" for one in closed.failures)
            raise NotInvariant(
                f"pipeline {pipeline.name}: with shards of {pipeline.time.shard} its run {closed.status}: {failures}"
            )
        return closed.committed


def _length_us(width: Width) -> int:
    hour_us = 3_600_000_000
    return width.count * {"m": hour_us // 60, "h": hour_us, "d": 24 * hour_us, "w": 168 * hour_us, "mo": 730 * hour_us}[width.unit]


# ---- two widths -------------------------------------------------------------------------------------------


def _compare(own: _Cut, other: _Cut, tolerance: float) -> None:
    for name in sorted(own.held.rows.keys() | other.held.rows.keys()):
        mine, theirs = own.held.rows.get(name), other.held.rows.get(name)
        if mine is None or theirs is None or mine.schema != theirs.schema:
            raise NotInvariant(
                f"table {name} has other columns with shards of {other.width} than with those of {own.width}:\n"
                f"{None if theirs is None else theirs.schema}\nexpected\n{None if mine is None else mine.schema}", table=name,
            )  # fmt: skip
        lost, extra = unmatched(own.held.tables[name], other.held.tables[name], mine.schema, tolerance)
        if lost or extra:
            raise _differing(name, own, other, lost, extra)
    for what in ("quarantined row of shard", "accounts of shard"):
        _compare_facts(what, own, other)


def _differing(table: str, own: _Cut, other: _Cut, lost: Facts, extra: Facts) -> NotInvariant:
    """Name one row and one boundary; a row of the narrower shards tells the boundary best."""
    narrow, wide = (other, own) if other.shards >= own.shards else (own, other)
    sides = [(own, other, lost), (other, own, extra)]
    sides.sort(key=lambda one: (not one[2], one[0] is not narrow))
    (having, lacking, rows), counts = sides[0], (len(lost), len(extra))
    shard_us, row = sorted(rows)[0]
    boundary = _boundary(shard_us, having, narrow, wide)
    text = (
        f"table {table} depends on the width of shards: {having.width} gives the row {row}, {lacking.width} does not "
        f"({counts[0]} rows only with {own.width}, {counts[1]} only with {other.width}). A boundary at which the cut matters: "
        f"{boundary}. What belongs together is cut there: let the output group by what lies within a shard, or keep to one width"
    )
    return NotInvariant(text, table=table, boundary=boundary, row=row)


def _boundary(shard_us: int, having: _Cut, narrow: _Cut, wide: _Cut) -> str:
    """Return an instant beside, or within, the row's shard that is a boundary of the narrower shards and not of the wider."""
    index = having.calendar.index_of(shard_us)
    start, end = having.calendar.boundary(index), having.calendar.boundary(index + 1)
    inner = narrow.calendar.boundary(narrow.calendar.index_of(start) + 1)
    for instant in (start, inner, end):
        if wide.calendar.boundary(wide.calendar.index_of(instant)) != instant:
            return iso(instant)
    return iso(end)


def _compare_facts(what: str, own: _Cut, other: _Cut) -> None:
    """Compare rows set aside, and the sums of the accounts, whatever shard they belong to."""

    def without_shard(one: _Cut) -> list[Any]:
        rows = [tuple(fact[1:]) for fact, count in one.held.facts[what].items() for _ in range(count)]
        return [tuple(map(sum, zip(*rows, strict=True)))] if what.startswith("accounts") else sorted(rows, key=str)

    mine, theirs = without_shard(own), without_shard(other)
    if mine != theirs:
        example = next((str(one) for one in theirs + mine if one not in mine or one not in theirs), "")
        raise NotInvariant(f"{what.removesuffix(' of shard')}: with shards of {other.width} other than with {own.width}: {example}")
