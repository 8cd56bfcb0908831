from __future__ import annotations

import hashlib

import duckdb
import pytest

from perf.events import Shape, make_events

SHAPE = Shape(rows=20_000, days=4)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    return make_events(tmp_path_factory.mktemp("one"), SHAPE)


def query(events, sql):
    with duckdb.connect() as connection:
        return connection.execute(
            sql.format(events=f"'{events.folder}/events-*.parquet'", late=f"'{events.folder}/late-*.parquet'")
        ).fetchone()


def test_the_same_shape_gives_the_same_bytes(events, tmp_path):
    def digests(one):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(one.folder.iterdir())]

    assert digests(make_events(tmp_path, SHAPE)) == digests(events)


def test_another_seed_gives_other_rows(events, tmp_path):
    other = make_events(tmp_path, Shape(rows=20_000, days=4, seed=1))
    total = "SELECT sum(amount) FROM {events} WHERE amount > 0"
    assert query(other, total) != query(events, total)


def test_files_hold_their_days_and_nothing_else(events):
    assert len(events.files) == 4
    named = "regexp_extract(filename, '(\\d+).parquet', 1)::INT"
    assert query(events, f"SELECT count(*) FROM read_parquet({{events}}, filename = true) WHERE {named} <> day(ts)") == (0,)


def test_dirty_and_duplicate_rows_come_in_their_shares(events):
    rows, dirty, duplicate = query(
        events, "SELECT count(*), count(*) FILTER (coalesce(amount, -1) < 0), count(*) - count(DISTINCT event_id) FROM {events}"
    )
    assert rows == 20_000
    assert 0.01 * rows < dirty < 0.03 * rows
    assert 0.005 * rows < duplicate < 0.015 * rows


def test_duplicates_are_the_same_in_every_column(events):
    assert query(events, "SELECT count(DISTINCT event_id) - count(*) FROM (SELECT DISTINCT * FROM {events})") == (0,)


def test_late_rows_are_of_one_day_and_no_duplicates_of_others(events):
    days, again = query(
        events, "SELECT count(DISTINCT day(ts)), count(*) FILTER (event_id IN (SELECT event_id FROM {events})) FROM {late}"
    )
    assert (days, again) == (1, 0)
