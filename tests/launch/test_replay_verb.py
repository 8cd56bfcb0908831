"""Replay: what the definition of today accepts leaves quarantine as it comes into the tables; nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.plan import Scope
from raypipe.launch import Ask
from raypipe.pipeline import Quality, Rule

SMALL, LARGER = (
    Quality(rules=(Rule(name="small", expect=f"n < {bound}"), Rule(name="positive", expect="n > 0"))) for bound in (3, 50)
)


@pytest.fixture
def strict(place):
    """The first day has two rows that are not small, the third one that is not positive, the fourth one of each."""
    for day, numbers in enumerate([(1, 3, 40), (1, 2), (1, -2), (1, 60, -2)]):
        place.day(day, numbers)
    place.pipeline = replace(place.pipeline, quality=SMALL)
    place.run()
    assert aside(place) == [(1, "small", 2), (3, "positive", 1), (4, "positive", 1), (4, "small", 1)]
    place.mended = replace(place.pipeline, quality=LARGER)
    return place


def aside(place):
    return place.query("SELECT day(shard), rule, count(*) FROM _raypipe.quarantine GROUP BY ALL ORDER BY ALL")


def replayed(place, pipeline, rule=None, shards=None, **options):
    return place.run(launch.replay_ask(pipeline, rule=rule, shards=shards, **options), pipeline=pipeline)


def commits(place):
    return place.query("SELECT commit_seq FROM _raypipe.pipeline")[0][0]


def test_rows_that_pass_leave_quarantine_in_the_commit_that_brings_them_into_the_tables(strict):
    before = commits(strict)
    report = replayed(strict, strict.mended, rule="small")
    assert report.closed.committed == 2  # the first and the fourth day
    assert commits(strict) == before + 1
    assert aside(strict) == [(3, "positive", 1), (4, "positive", 1), (4, "small", 1)]
    assert strict.totals() == [(1, 3, 44), (2, 2, 3), (3, 1, 1), (4, 1, 1)]
    assert strict.query("SELECT read, loaded, quarantined FROM _raypipe.shards ORDER BY seq DESC, lo LIMIT 2") == [
        (3, 3, 0),
        (3, 1, 2),
    ]
    assert strict.proven()


def test_to_replay_twice_does_nothing(strict):
    replayed(strict, strict.mended)
    files = strict.bytes_of_all_files()
    assert launch.replay_ask(strict.mended, rule=None, shards=None).given == ()
    assert replayed(strict, strict.mended).closed.planned == 0
    assert strict.bytes_of_all_files() == files


def test_without_another_definition_nothing_is_replayed(strict):
    assert launch.replay_ask(strict.pipeline, rule=None, shards=None).given == ()


def test_only_the_shards_that_hold_such_rows_are_done_again(strict):
    assert launch.replay_ask(strict.mended, rule="positive", shards=None).given == (strict.window(2), strict.window(3))
    assert launch.replay_ask(strict.mended, rule=None, shards=(0, 3)).given == (strict.window(0), strict.window(2))
    assert launch.replay_ask(strict.mended, rule="small", shards=(1, 3)).given == ()
    assert launch.replay_ask(strict.mended, rule="nobody", shards=None).given == ()


def test_a_replay_that_dies_before_its_commit_changes_nothing_and_the_next_one_does_it(strict, monkeypatch):
    from raypipe.destinations.duckdb import DuckDBFile

    class Killed(BaseException):
        pass

    def dies(*arguments):
        raise Killed

    tables, rows = strict.totals(), aside(strict)
    with monkeypatch.context() as patched:
        patched.setattr(DuckDBFile, "commit", dies)
        with pytest.raises(Killed):
            replayed(strict, strict.mended)
    assert (strict.totals(), aside(strict)) == (tables, rows)
    assert strict.proven()
    assert replayed(strict, strict.mended).closed.committed == 3
    assert strict.proven()
    assert strict.totals()[0] == (1, 3, 44)


def test_a_replay_that_a_shard_fails_publishes_none(strict):
    failing = replace(strict.mended, quality=Quality(rules=(Rule(name="sane", expect="n > -2", otherwise="fail"), *LARGER.rules)))
    tables, rows = strict.totals(), aside(strict)
    report = replayed(strict, failing)
    assert report.closed.committed == 0
    assert (strict.totals(), aside(strict)) == (tables, rows)


def test_a_shard_that_was_widened_meanwhile_is_replayed_whole(strict):
    wide = replace(strict.pipeline, time=replace(strict.pipeline.time, shard=parse_width("2d")))
    strict.run(Ask(scope=Scope.ALL), pipeline=wide)
    assert launch.replay_ask(strict.mended, rule="positive", shards=None).given == (strict.window(2, 4),)
    assert replayed(strict, strict.mended).closed.committed == 2
    assert strict.proven()


def test_a_file_that_is_gone_keeps_its_shard_from_being_replayed_until_that_is_accepted(strict):
    (strict.folder / "day0.parquet").unlink()
    tables, rows = strict.totals(), aside(strict)
    report = replayed(strict, strict.mended, rule="small")
    assert [one.code for one in report.closed.failures] == ["source_shrunk"]
    assert (strict.totals(), aside(strict)) == (tables, rows)
    assert strict.proven()
