"""The verbs as Python programs call them."""

from __future__ import annotations

import raypipe
from raypipe.core import events as ev


def test_a_window_is_run_planned_and_backfilled(place):
    assert len(raypipe.plan(place.pipeline).plan.shards) == 4
    assert len(raypipe.plan(place.pipeline, place.window(1, 3)).plan.shards) == 2
    assert raypipe.run(place.pipeline, place.window(1, 3)).closed.committed == 2
    assert raypipe.run(place.pipeline).closed.committed == 2
    place.day(2, (50,))
    report = raypipe.backfill(place.pipeline, place.window(0, 4))
    assert report.closed.committed == 4
    assert place.totals() == [(1, 3, 6), (2, 3, 6), (3, 1, 50), (4, 3, 6)]
    assert place.query("SELECT kind FROM _raypipe.runs ORDER BY started") == [("run",), ("run",), ("backfill",)]


def test_an_observer_sees_the_run_and_cannot_break_it(place):
    class Breaks:
        def __init__(self):
            self.seen = []

        def on(self, event):
            self.seen.append(type(event))
            raise RuntimeError("a bug of the observer")

    observer = Breaks()
    assert raypipe.run(place.pipeline, observer=observer).closed.status == "done"
    assert len(observer.seen) == 1


def test_an_observer_that_works_sees_all_of_it(place, told):
    raypipe.run(place.pipeline, observer=told)
    kinds = [type(event) for event in told.events]
    assert kinds[0] is ev.ScanStarted
    assert kinds[-1] is ev.RunClosed
    assert ev.GroupCommitted in kinds
