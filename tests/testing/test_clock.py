"""A clock that stands still says what time it is to a run, and to nothing that waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import raypipe
from raypipe.testing import FrozenClock, write_rows


def test_it_stands_where_it_was_put_and_moves_when_it_is_moved():
    clock = FrozenClock("2026-01-03")
    assert clock.now_us() == clock.now_us() == raypipe.to_us(datetime(2026, 1, 3, tzinfo=UTC))
    clock.advance(timedelta(hours=36))
    assert clock.now == datetime(2026, 1, 4, 12, tzinfo=UTC)
    clock.move_to("2026-01-01T02:00:00+02:00")
    assert clock.now == datetime(2026, 1, 1, tzinfo=UTC)


def test_durations_go_on():
    clock = FrozenClock(datetime(2026, 1, 3))
    before_s = clock.monotonic_s()
    clock.sleep_s(0.001)
    assert clock.monotonic_s() > before_s
    assert clock.now == datetime(2026, 1, 3, tzinfo=UTC)


@pytest.mark.slow
def test_which_shards_are_ready_depends_on_it(counted, events, tmp_path):
    (tmp_path / "nowhere").mkdir()
    write_rows(counted, events, tmp_path / "nowhere" / "events.csv")
    open_ended = replace(counted, time=replace(counted.time, end_us=None))
    clock = FrozenClock("2026-01-02T23:59")
    assert [str(one.window) for one in raypipe.plan(open_ended, clock=clock).plan.shards] == [
        "[2026-01-01T00:00:00Z, 2026-01-02T00:00:00Z)"
    ]
    assert raypipe.run(open_ended, clock=clock).closed.committed == 1
    clock.advance(timedelta(minutes=1))
    assert raypipe.run(open_ended, clock=clock).closed.committed == 1
    assert raypipe.run(open_ended, clock=clock).closed.planned == 0
    whole = raypipe.Window(open_ended.time.start_us, clock.now_us())
    assert raypipe.backfill(open_ended, whole, clock=clock).closed.committed == 2
