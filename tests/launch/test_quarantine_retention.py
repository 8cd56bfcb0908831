"""quality.keep_quarantined: gc takes the texts of old quarantined rows away; the rows stay and all still adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.engine.definition import definitions
from raypipe.pipeline import Quality, Rule
from raypipe.runtime.system_clock import SystemClock

pytestmark = pytest.mark.slow  # whole runs on real files
DAY_US = 86_400_000_000
TEXTS = "SELECT day(shard), rule, raw IS NOT NULL, error IS NOT NULL FROM _raypipe.quarantine ORDER BY ALL"


@pytest.fixture
def kept(place):
    """A row of each day is in quarantine, and kept for 30 days."""
    rules = (Rule(name="not_two", expect="n <> 2"),)
    place.pipeline = replace(place.pipeline, quality=Quality(rules=rules, keep_quarantined_us=30 * DAY_US))
    place.run(launch.Ask(end_us=place.window(2).start_us))
    return place


@pytest.fixture
def later(monkeypatch):
    now_us = SystemClock.now_us

    def pass_days(days):
        monkeypatch.setattr(SystemClock, "now_us", lambda self: now_us(self) + days * DAY_US)

    return pass_days


def test_texts_stay_as_long_as_they_are_kept(kept, later):
    later(29)
    assert launch.gc(kept.pipeline).blanked == 0
    assert kept.query(TEXTS) == [(1, "not_two", True, True), (2, "not_two", True, True)]


def test_old_texts_go_and_the_accounts_still_balance(kept, later):
    later(31)
    kept.run()  # two more days, set aside today
    assert launch.gc(kept.pipeline).blanked == 2
    assert kept.query(TEXTS) == [
        (1, "not_two", False, False), (2, "not_two", False, False), (3, "not_two", True, True), (4, "not_two", True, True),
    ]  # fmt: skip
    assert kept.proven()
    assert [one["rows"] for one in launch.quarantine_counts(kept.pipeline)] == [4]
    assert all(one.ok for one in launch.recompute(kept.pipeline))
    assert launch.gc(kept.pipeline).blanked == 0


def test_verify_still_sees_that_a_row_without_text_is_missing(kept, later):
    later(31)
    launch.gc(kept.pipeline)
    import duckdb

    with duckdb.connect(str(kept.out)) as connection:
        connection.execute("DELETE FROM _raypipe.quarantine WHERE day(shard) = 1")
    assert not kept.proven()
    assert not all(one.ok for one in launch.recompute(kept.pipeline))


def test_without_the_setting_texts_are_kept_for_ever(kept, later):
    later(10_000)
    forever = replace(kept.pipeline, quality=replace(kept.pipeline.quality, keep_quarantined_us=None))
    assert launch.gc(forever).blanked == 0
    assert kept.query(TEXTS)[0] == (1, "not_two", True, True)


def test_how_long_texts_are_kept_makes_nothing_stale(kept):
    other = replace(kept.pipeline, quality=replace(kept.pipeline.quality, keep_quarantined_us=DAY_US))
    assert definitions(other)["clean"].fingerprint == definitions(kept.pipeline)["clean"].fingerprint


def test_a_blanked_row_is_replayed_like_any_other_while_its_file_is_there(kept, later):
    later(31)
    launch.gc(kept.pipeline)
    mended = replace(kept.pipeline, quality=Quality())
    kept.run(launch.replay_ask(mended, rule="not_two", shards=None), pipeline=mended)
    assert kept.query(TEXTS) == []
    assert kept.query("SELECT count(*) FROM clean") == [(6,)]
    assert kept.proven()


def test_gc_of_a_destination_that_is_not_there_makes_none(place):
    pipeline = replace(place.pipeline, quality=Quality(keep_quarantined_us=DAY_US))
    assert launch.gc(pipeline).blanked == 0
    assert not place.out.exists()
