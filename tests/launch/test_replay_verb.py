"""Replay: what the definition of today accepts leaves quarantine as it comes into the tables; nothing else changes."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.plan import Scope
from raypipe.errors import UsageError
from raypipe.launch import Ask
from raypipe.pipeline import Column, CsvDialect, FilesSource, Quality, Rule

pytestmark = pytest.mark.slow  # whole runs on real files

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


# ---- files that are gone ----------------------------------------------------------------------------------

LINES = [
    "ts,n,note",
    "2026-01-01 06:00:00,1,a",
    '2026-01-01 07:00:00,30,"b, or ""c"""',
    "2026-01-01 08:00:00,60,NA",
    "2026-01-02 06:00:00,40,d",
    "broken",
]
OTHER = ["ts,n,note", "2026-01-01 09:00:00,2,e", "2026-01-03 06:00:00,2,f"]


@pytest.fixture
def texts(place):
    """Two CSV files: `gone.csv` has rows of two days, two of the first day and one of the second are not small."""
    for name, lines in (("gone.csv", LINES), ("there.csv", OTHER)):
        (place.folder / name).write_text("\n".join(lines) + "\n")
        os.utime(place.folder / name, (10**9, 10**9))
    kinds = {"ts": "timestamp", "n": "int64", "note": "string"}
    columns = {name: Column(type=parse_datatype(kind)) for name, kind in kinds.items()}
    csv = CsvDialect(nulls=("NA",))
    source = FilesSource(paths=(f"{place.folder}/*.csv",), format="csv", columns=columns, csv=csv)
    place.pipeline = replace(place.pipeline, source=source, quality=SMALL)
    place.run()
    place.mended = replace(place.pipeline, quality=LARGER)
    assert aside(place) == [(1, "malformed_line", 1), (1, "small", 2), (2, "small", 1)]
    return place


def test_rows_of_a_file_that_is_gone_stand_in_for_it_once_that_is_accepted(texts):
    (texts.folder / "gone.csv").unlink()
    report = replayed(texts, texts.mended, accept_shrunk=True)
    assert report.closed.committed == 2
    rows = texts.query("SELECT day(ts), n, note FROM clean ORDER BY ALL")
    assert rows == [(1, 2, "e"), (1, 30, 'b, or "c"'), (2, 40, "d"), (3, 2, "f")]  # the row that had passed left with its file
    assert texts.query("SELECT n, note FROM (SELECT raw->>'n' AS n, raw->>'note' AS note FROM _raypipe.quarantine)") == [
        ("60", None)
    ]
    assert texts.proven()
    assert all(one.ok for one in launch.recompute(texts.mended))
    assert launch.plan(texts.mended, Ask()).plan.shards == ()
    assert launch.plan(texts.mended, Ask()).plan.failures == ()


def test_a_replay_with_stand_ins_that_dies_is_done_by_the_next_one_without_doubles(texts, monkeypatch):
    from raypipe.destinations.duckdb import DuckDBFile

    (texts.folder / "gone.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(DuckDBFile, "commit", lambda *arguments: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            replayed(texts, texts.mended, accept_shrunk=True)
    assert texts.proven()
    replayed(texts, texts.mended, rule="small", shards=(0, 1), accept_shrunk=True)
    replayed(texts, texts.mended, accept_shrunk=True)
    assert texts.query("SELECT n FROM clean ORDER BY n") == [(2,), (2,), (30,), (40,)]
    assert texts.proven()
    assert replayed(texts, texts.mended, accept_shrunk=True).closed.planned == 0


def test_a_stand_in_is_passed_over_when_its_file_is_back(texts):
    content = (texts.folder / "gone.csv").read_text()
    (texts.folder / "gone.csv").unlink()
    replayed(texts, texts.mended, accept_shrunk=True)
    (texts.folder / "gone.csv").write_text(content)
    os.utime(texts.folder / "gone.csv", (10**9, 10**9))
    texts.run(pipeline=texts.mended)
    assert texts.query("SELECT n FROM clean ORDER BY n") == [(1,), (2,), (2,), (30,), (40,)]
    assert aside(texts) == [(1, "malformed_line", 1), (1, "small", 1)]
    assert texts.proven()


def test_rows_that_lack_a_column_of_today_do_not_stand_in(texts):
    (texts.folder / "gone.csv").unlink()
    columns = {**texts.mended.source.columns, "more": Column(type=parse_datatype("int64"))}
    more = replace(texts.mended, source=replace(texts.mended.source, columns=columns))
    with pytest.raises(UsageError, match=r"gone\.csv is gone, and the rows of it that were set aside lack more"):
        launch.replay_ask(more, rule=None, shards=None, accept_shrunk=True)


def test_the_rows_of_a_parquet_file_that_is_gone_stand_in_with_their_types(strict):
    (strict.folder / "day0.parquet").unlink()
    replayed(strict, strict.mended, rule="small", accept_shrunk=True)
    assert strict.query("SELECT ts, n FROM clean WHERE day(ts) = 1 ORDER BY n") == [
        (datetime.datetime(2026, 1, 1, 6), 3), (datetime.datetime(2026, 1, 1, 6), 40),
    ]  # fmt: skip
    assert strict.proven()
    assert all(one.ok for one in launch.recompute(strict.mended))


def test_other_widths_are_verified_with_the_stand_ins(texts):
    (texts.folder / "gone.csv").unlink()
    replayed(texts, texts.mended, accept_shrunk=True)
    checks = launch.verify_widths(texts.mended, [parse_width("2d")])
    assert all(one.ok for one in checks), checks
