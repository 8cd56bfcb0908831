from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.core.datatype import parse_datatype
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.window import Window
from raypipe.errors import InputChanged, RaypipeError, SourceUnreadable
from raypipe.pipeline import Column
from raypipe.sources import files as files_module
from raypipe.sources import route_file, routing
from raypipe.sources.files import Files

DAY_US = 86_400_000_000
OLD_NS = 1_600_000_000 * 10**9
FORMATS = ["csv", "jsonl", "parquet"]
CONTRACT = {"id": Column(type=parse_datatype("int64")), "ts": Column(type=parse_datatype("string"))}


def write_rows(path: Path, rows: list[dict[str, Any]], form: str, age_ns: int = OLD_NS) -> None:
    """Write rows with the columns `id` and `ts` as one file of a format, long settled."""
    if form == "csv":
        path.write_text("id,ts\n" + "".join(f"{row['id']},{row['ts'] or ''}\n" for row in rows))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        schema = pa.schema([("id", pa.int64()), ("ts", pa.string())])
        pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=3)
    os.utime(path, ns=(age_ns, age_ns))


def days(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": place, "ts": f"2024-01-{number:02d}T0{place % 10}:00:00Z"} for place, number in enumerate(numbers)]


def source_of(bench: Any, form: str, pattern: str = "*", **options: Any) -> Files:
    return bench.source(f"{pattern}.{form}", format=form, columns=CONTRACT, **options)


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


def ids(reading: Any) -> list[list[int]]:
    return [[int(row["id"]) for row in rows] for rows in reading.rows]


# ---- exactness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_each_shard_gets_its_rows_in_order_of_source_and_position(bench: Any, form: str, memory_bytes: int) -> None:
    write_rows(bench.folder / f"b.{form}", days(1, 3, 1), form)
    write_rows(bench.folder / f"a.{form}", days(3, 1, 2), form)
    reading = bench.read(source_of(bench, form, in_memory_bytes=memory_bytes))
    assert ids(reading)[:4] == [[1, 0, 2], [2], [0, 1], []]
    assert reading.column("_source")[:3] == [[0, 1, 1], [0], [0, 1]]
    first = {"csv": 2, "jsonl": 1, "parquet": 0}[form]
    assert reading.column("_position")[0] == [first + 1, first, first + 2]
    assert reading.column("_time")[1][0] == bench.source("x", format=form).time.start_us + DAY_US + 2 * 3_600_000_000


def test_late_rows_in_the_next_days_file_are_read_by_both_shards(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"2024-01-01.{form}", days(1, 1), form)
    write_rows(bench.folder / f"2024-01-02.{form}", days(2, 1, 2), form)
    reading = bench.read(source_of(bench, form))
    assert ids(reading)[:3] == [[0, 1, 1], [0, 2], []]
    assert [[Path(one.file.uri).stem for one in some] for some in reading.slices[:3]] == [
        ["2024-01-01", "2024-01-02"],
        ["2024-01-02"],
        [],
    ]


def test_several_windows_are_read_at_once_each_file_once(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(3, 1, 2, 5, 1), form)
    source = source_of(bench, form)
    reading = bench.read(source)
    windows = bench.windows(source)
    chosen = [0, 2, 4]
    batches = list(source.read([windows[n] for n in chosen], [one for n in chosen for one in reading.slices[n]], ["id"]))
    found = [(int(row["id"]), row["_time"]) for batch in batches for row in batch.rows.to_pylist()]
    assert sorted(number for number, _ in found) == [0, 1, 3, 4]
    assert [number for number, time_us in found if time_us < windows[2].start_us] == [
        1,
        4,
    ]  # the order of each window is the file's


def test_rows_outside_the_history_are_counted_and_never_delivered(bench: Any, form: str) -> None:
    rows = [*days(1, 2), {"id": 7, "ts": "2023-12-31T23:59:59Z"}, {"id": 8, "ts": "2024-01-11"}, {"id": 9, "ts": "2050-01-01"}]
    write_rows(bench.folder / f"a.{form}", rows, form)
    source = source_of(bench, form)
    assert ids(bench.read(source, [Window(0, 2**52)])) == [[0, 1]]
    assert ids(bench.read(source, [Window(0, 1000)])) == [[]]
    assert sorted(row for some in ids(bench.read(source)) for row in some) == [0, 1]
    assert source.outside(source.list()) == 3


def test_rows_without_event_time_are_set_aside_once(bench: Any, form: str) -> None:
    rows = [{"id": 0, "ts": "2024-01-05"}, {"id": 1, "ts": None}, {"id": 2, "ts": "junk"}, {"id": 3, "ts": "2024-01-03"}]
    write_rows(bench.folder / f"a.{form}", rows, form)
    reading = bench.read(source_of(bench, form))
    assert [len(some) for some in reading.rejects] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    assert [(one.rule, one.position - {"csv": 2, "jsonl": 1, "parquet": 0}[form]) for one in reading.rejects[2]] == [
        ("no_event_time", 1),
        ("no_event_time", 2),
    ]
    assert json.loads(reading.rejects[2][1].raw)["ts"] == "junk"
    assert [one.untimed for some in reading.slices for one in some] == [True, False]


def test_the_last_shard_ends_with_the_history(bench: Any, form: str) -> None:
    rows = [{"id": hour, "ts": f"2024-01-02T{hour:02d}:00:00Z"} for hour in range(24)]
    write_rows(bench.folder / f"a.{form}", rows, form)
    source = source_of(bench, form, end="2024-01-02T12:00:00")
    assert ids(bench.read(source)) == [[], list(range(12))]
    assert source.outside(source.list()) == 12


times = st.one_of(
    st.datetimes(dt.datetime(2024, 3, 29), dt.datetime(2024, 4, 2)).map(lambda time: time.isoformat(" ")),
    st.datetimes(dt.datetime(2024, 10, 26), dt.datetime(2024, 10, 28)).map(lambda time: time.isoformat() + "Z"),
    st.sampled_from(
        ["2024-03-31T02:30:00", "2024-10-27T02:30:00", "2024-03-31 03:00:00", "junk", None, "2020-01-01", "2030-01-01"]
    ),
)


@given(
    contents=st.lists(st.lists(times, max_size=12), min_size=1, max_size=3),
    form=st.sampled_from(FORMATS),
    width=st.sampled_from(["1h", "1d", "1w", "1mo", "45m", "5d"]),
    zone=st.sampled_from(["UTC", "Europe/Madrid", "America/New_York", "Asia/Kathmandu"]),
    flush_bytes=st.sampled_from([1, 60, 2**26]),
    memory_bytes=st.sampled_from([0, 300, 2**30]),
    group=st.integers(1, 5),
    history=st.sampled_from([("2024-03-29", "2024-04-02"), ("2024-10-25T20:00:00", "2024-10-29")]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_row_is_delivered_to_exactly_one_window_or_set_aside_or_outside(
    bench: Any, monkeypatch: pytest.MonkeyPatch, forget_slices: Callable[[], None], contents: list[list[str | None]], form: str,
    width: str, zone: str, flush_bytes: int, memory_bytes: int, group: int, history: tuple[str, str],
) -> None:  # fmt: skip
    monkeypatch.setattr(routing, "FLUSH_BYTES", flush_bytes)
    forget_slices()
    expected: dict[int, int | str] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = type(bench)(Path(name))
        for number, texts in enumerate(contents):
            rows = [{"id": number * 100 + place, "ts": text} for place, text in enumerate(texts)]
            expected.update((row["id"], _expected(row["ts"], zone)) for row in rows)
            write_rows(bench.folder / f"{number}.{form}", rows, form)
        source = source_of(bench, form, zone=zone, shard=width, start=history[0], end=history[1])
        time, windows = source.time, bench.windows(source)
        listing = bench.index(source)
        slices = source.slices(listing, windows)
        found: dict[int, int | str] = {}
        for place in range(0, len(windows), group):
            some = windows[place : place + group]
            of_some = [one for found_slices in slices[place : place + group] for one in found_slices]
            if not of_some:
                continue
            order: dict[Window, list[tuple[int, int]]] = {window: [] for window in some}
            for batch in source.read(some, of_some, None):
                for row in batch.rows.to_pylist():
                    assert some[0].start_us <= row["_time"] < some[-1].end_us
                    (window,) = (one for one in some if one.start_us <= row["_time"] < one.end_us)
                    order[window].append((row["_source"], row["_position"]))
                    assert int(row["id"]) not in found
                    found[int(row["id"])] = row["_time"]
                for reject in batch.rejects:
                    number = int(json.loads(reject.raw)["id"])
                    assert number not in found
                    found[number] = reject.rule
            assert all(found_order == sorted(found_order) for found_order in order.values())
        outside = {
            one for one, what in expected.items() if isinstance(what, int) and not time.start_us <= what < (time.end_us or 0)
        }
        assert found == {one: what for one, what in expected.items() if one not in outside}
        assert source.outside(listing) == len(outside)


def _expected(text: str | None, zone: str) -> int | str:
    """Place a text by the standard library alone."""
    from zoneinfo import ZoneInfo

    try:
        time = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return "no_event_time"
    if time.tzinfo is None:
        local = time.replace(tzinfo=ZoneInfo(zone), fold=0)
        if local.astimezone(dt.UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != time:
            return "no_such_time"
        time = local
    return (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def test_nested_event_time_in_json_lines_is_placed_by_its_path(bench: Any) -> None:
    bench.write_jsonl(
        "a.jsonl",
        [
            {"id": 1, "payload": {"ts": "2024-01-02"}},
            {"id": 2, "payload": {}},
            {"id": 3},
            {"id": 4, "payload": {"ts": "2024-01-01"}},
        ],
    )
    source = bench.source("*.jsonl", format="jsonl", columns={"id": CONTRACT["id"]}, column="payload.ts")
    reading = bench.read(source, columns=["id"])
    assert reading.column("id")[:2] == [[4], [1]]
    assert [one.position for one in reading.rejects[0]] == [2, 3]
    assert set(reading.rows[0][0]) == {"id", "_time", "_source", "_position"}


def test_malformed_lines_come_beside_the_rows_of_the_files_first_shard(bench: Any) -> None:
    bench.write("a.csv", "id,ts\n1,2024-01-03\n2,2024-01-02,too many\n3,2024-01-02\n")
    reading = bench.read(source_of(bench, "csv"))
    assert ids(reading)[:3] == [[], [3], [1]]
    assert [(one.position, one.raw) for one in reading.rejects[1]] == [(3, "2,2024-01-02,too many")]
    assert sum(len(some) for some in reading.rejects) == 1


# ---- what is late and what is not -------------------------------------------------------------------------


def fingerprints(bench: Any, source: Files, windows: Sequence[Window] | None = None) -> list[str]:
    """The input of windows, which the source tells alike with and without the slices."""
    listing, windows = bench.index(source), bench.windows(source) if windows is None else windows
    found = [*source.fingerprints(listing, windows)]
    assert found == [input_fingerprint(slices) for slices in source.slices(listing, windows)]
    return found


def test_a_file_replaced_with_one_row_changed_changes_only_its_shards(bench: Any, form: str) -> None:
    source = source_of(bench, form)
    write_rows(bench.folder / f"a.{form}", days(1, 2, 3), form)
    before = fingerprints(bench, source)
    changed = days(1, 2, 3)
    changed[1]["id"] = 77
    write_rows(bench.folder / f"a.{form}", changed, form, OLD_NS + 1)
    after = fingerprints(bench, source)
    assert [a == b for a, b in zip(before, after, strict=True)][:4] == [True, False, True, True]
    assert ids(bench.read(source))[:3] == [[0], [77], [2]]


def test_rows_that_only_move_within_their_file_change_nothing(bench: Any, form: str) -> None:
    source = source_of(bench, form)
    write_rows(bench.folder / f"a.{form}", days(1, 2), form)
    before = fingerprints(bench, source)
    write_rows(bench.folder / f"a.{form}", [*days(1)[:0], {"id": 9, "ts": "2024-01-05"}, *days(1, 2)], form, OLD_NS + 1)
    after = fingerprints(bench, source)
    assert [a == b for a, b in zip(before, after, strict=True)][:5] == [True, True, True, True, False]


def test_another_width_leaves_the_input_of_what_was_done_as_it_was(bench: Any, form: str) -> None:
    path = bench.folder / f"a.{form}"
    write_rows(path, days(1, 1, 2, 3, 8, 9, 10, 10), form)

    def inputs(windows: list[Window], **options: Any) -> list[str]:
        return fingerprints(bench, source_of(bench, form, **options), windows)

    by_day = bench.windows(source_of(bench, form))
    merged = [Window(by_day[0].start_us, by_day[2].end_us), Window(by_day[7].start_us, by_day[9].end_us)]
    by_hour, by_week = (bench.windows(source_of(bench, form, shard=width)) for width in ("1h", "1w"))
    by_week[-1] = Window(by_week[-1].start_us, by_day[-1].end_us)  # as the plan cuts it at the end of history
    first = inputs([*by_day, *merged])
    hours = inputs(by_hour, shard="1h")
    weeks = inputs(by_week, shard="1w")
    for width in ("1h", "1w", "1d"):
        assert inputs([*by_day, *merged], shard=width) == first
        assert inputs(by_hour, shard=width) == hours
        assert inputs(by_week, shard=width) == weeks
    assert source_of(bench, form, shard="1h").unindexed(bench.index(source_of(bench, form))) == ()
    write_rows(path, days(1, 1, 2, 3, 8, 9, 10), form, OLD_NS + 1)
    assert inputs([*by_day, *merged], shard="1d") != first


@pytest.mark.parametrize(("numbers", "same"), [((1, 1), False), ((1, 2), True)])
def test_touching_a_parquet_file_changes_its_shard_where_it_was_not_read(bench: Any, numbers: Any, same: bool) -> None:
    source = source_of(bench, "parquet")
    write_rows(bench.folder / "a.parquet", days(*numbers), "parquet")
    before = fingerprints(bench, source)
    os.utime(bench.folder / "a.parquet", ns=(OLD_NS + 5, OLD_NS + 5))
    assert (fingerprints(bench, source) == before) is same


def test_a_file_replaced_after_the_width_changed_changes_only_its_shards(bench: Any, form: str) -> None:
    path = bench.folder / f"a.{form}"
    write_rows(path, days(1, 1, 2, 3, 8, 9, 10), form)
    by_day, by_week = (bench.windows(source_of(bench, form, shard=width)) for width in ("1d", "1w"))
    by_week[-1] = Window(by_week[-1].start_us, by_day[-1].end_us)

    def inputs(windows: list[Window], width: str) -> list[str]:
        return fingerprints(bench, source_of(bench, form, shard=width), windows)

    before, weeks_before = inputs(by_day, "1d"), inputs(by_week, "1w")
    changed = days(1, 1, 2, 3, 8, 9, 10)
    changed[3]["id"] = 77
    write_rows(path, changed, form, OLD_NS + 1)
    after, weeks_after = inputs(by_day, "1w"), inputs(by_week, "1d")  # each by the other width than it was made by
    assert [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [2]
    assert [a == b for a, b in zip(weeks_before, weeks_after, strict=True)] == [False, True]


def test_a_csv_contract_that_gains_a_column_changes_no_digest(bench: Any) -> None:
    bench.write("a.csv", "id,ts,more\n1,2024-01-01,x\n")
    narrow = source_of(bench, "csv")
    wide = bench.source("*.csv", format="csv", columns={**CONTRACT, "more": CONTRACT["ts"]})
    assert fingerprints(bench, narrow) == fingerprints(bench, wide)
    assert "more" not in bench.read(narrow).rows[0][0]
    assert bench.read(wide).rows[0][0]["more"] == "x"


def test_an_unsettled_file_is_not_read_again_once_it_has_settled(bench: Any, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = OLD_NS
    monkeypatch.setattr(files_module.clock, "time_ns", lambda: now_ns)
    source = source_of(bench, form)
    write_rows(bench.folder / f"a.{form}", days(1, 2), form, now_ns - 10)
    before = fingerprints(bench, source)
    assert source.unindexed(source.list()) == ()
    now_ns += 10 * 10**9
    assert source.unindexed(source.list()) == ()
    assert fingerprints(bench, source) == before


# ---- the index and the slices are caches ------------------------------------------------------------------


def test_a_second_listing_needs_no_scan_and_no_engine(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(1, 2), form)
    source = source_of(bench, form)
    bench.index(source)
    code = (
        "import pickle, sys\n"
        f"source, windows = pickle.loads({pickle.dumps((source, bench.windows(source)))!r})\n"
        "listing = source.list()\n"
        "assert source.unindexed(listing) == ()\n"
        "assert [len(some) for some in source.slices(listing, windows)][:3] == [1, 1, 0]\n"
        "assert source.outside(listing) == 0\n"
        "assert not {'pyarrow', 'polars', 'duckdb', 'ray'} & set(sys.modules), 'an engine was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_lost_or_corrupt_index_is_made_anew(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(1, 2), form)
    source = source_of(bench, form)
    before = fingerprints(bench, source)
    (bench.state / "index.sqlite").unlink()
    assert len(source.unindexed(source.list())) == 1
    assert fingerprints(bench, source) == before
    (bench.state / "index.sqlite").write_bytes(b"junk" * 1000)
    assert fingerprints(bench, source) == before


def test_an_index_that_is_lost_between_scan_and_plan_is_made_on_the_way(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(1, 2), form)
    source = source_of(bench, form)
    listing = bench.index(source)
    before = source.slices(listing, bench.windows(source))
    (bench.state / "index.sqlite").unlink()
    assert source.slices(listing, bench.windows(source)) == before


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_slices_that_vanished_are_read_from_the_file_again(
    bench: Any, forget_slices: Callable[[], None], memory_bytes: int
) -> None:
    write_rows(bench.folder / "a.csv", days(1, 2), "csv")
    source = source_of(bench, "csv", in_memory_bytes=memory_bytes)
    bench.index(source)
    forget_slices()
    if (bench.state / "slices").exists():
        for folder in (bench.state / "slices").iterdir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    assert ids(bench.read(source))[:2] == [[0], [1]]


def test_slices_in_memory_leave_nothing_on_disk_and_are_used(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(bench.folder / "a.csv", days(1, 2), "csv")
    source = source_of(bench, "csv", in_memory_bytes=2**30)
    bench.index(source)
    monkeypatch.setattr(route_file, "decode", lambda *_: pytest.fail("the file was read again"))
    assert ids(bench.read(pickle.loads(pickle.dumps(source))))[:2] == [[0], [1]]
    assert not (bench.state / "slices").exists()


def test_memory_for_slices_is_shared_by_all_files(bench: Any) -> None:
    for name in "abc":
        write_rows(bench.folder / f"{name}.csv", days(*[1] * 50), "csv")
    source = source_of(bench, "csv", in_memory_bytes=5_000)
    bench.index(source)
    assert 0 < len(list((bench.state / "slices").iterdir())) < 3


def test_slices_of_a_superseded_version_are_dropped(bench: Any) -> None:
    source = source_of(bench, "csv")
    for age in (OLD_NS, OLD_NS + 1):
        write_rows(bench.folder / "a.csv", days(1, 2), "csv", age)
        bench.index(source)
    assert len(list((bench.state / "slices").iterdir())) == 1


def test_threads_that_find_slices_gone_read_the_file_once(
    bench: Any, monkeypatch: pytest.MonkeyPatch, forget_slices: Callable[[], None]
) -> None:
    write_rows(bench.folder / "a.csv", days(*[1] * 100), "csv")
    source = source_of(bench, "csv", in_memory_bytes=2**30)
    bench.index(source)
    forget_slices()
    opened: list[int] = []
    decode = route_file.decode
    monkeypatch.setattr(route_file, "decode", lambda *rest: opened.append(1) or decode(*rest))
    threads = [threading.Thread(target=bench.read, args=(source,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [1]


# ---- inputs that change or are broken ---------------------------------------------------------------------


def test_a_file_that_changes_between_listing_and_scan_is_noticed(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(1), form)
    source = source_of(bench, form)
    (file,) = source.list().files
    write_rows(bench.folder / f"a.{form}", days(1, 2), form, OLD_NS + 1)
    with pytest.raises(InputChanged, match=f"a.{form}"):
        source.scan(file)


@pytest.mark.parametrize("change", ["rewrite", "delete"])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_before_or_while_it_is_read_is_noticed(bench: Any, form: str, change: str, when: str) -> None:
    path = bench.folder / f"a.{form}"
    write_rows(path, days(1, 1), form)
    source = source_of(bench, form)
    listing = bench.index(source)
    windows = bench.windows(source)[:1]
    reading = source.read(windows, source.slices(listing, windows)[0], None)
    if when == "while":
        next(reading)
    if change == "rewrite":
        write_rows(path, days(1, 2, 3), form, OLD_NS + 1)
    else:
        path.unlink()
    with pytest.raises(InputChanged, match=f"a.{form}"):
        list(reading)


def test_a_file_that_looks_truncated_because_it_is_being_written_is_no_corrupt_file(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(bench.folder / "a.csv", days(1), "csv")
    source = source_of(bench, "csv")
    (file,) = source.list().files

    def decode(*_: object) -> Any:
        write_rows(bench.folder / "a.csv", days(1, 2), "csv", OLD_NS + 1)
        raise SourceUnreadable("truncated")

    monkeypatch.setattr(route_file, "decode", decode)
    with pytest.raises(InputChanged):
        source.scan(file)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.csv.zip", "a.csv.zst"])
def test_a_corrupt_file_is_named_and_leaves_nothing(bench: Any, name: str) -> None:
    bench.write(name, "this is none of these formats")
    source = bench.source("a.*", format="parquet" if name == "a.parquet" else "csv")
    (file,) = source.list().files
    with pytest.raises(SourceUnreadable, match=name):
        source.scan(file)
    assert not list(bench.folder.glob("state/slices/*"))


def long_text() -> str:
    """Return a CSV file of several blocks whose rows lie in hours that alternate."""
    return "id,ts\n" + "".join(f"{place},2024-01-0{1 + place // 50_000}T0{place % 7}:00:00Z\n" for place in range(400_000))


@pytest.mark.parametrize("width", ["1h", "1d"])
def test_threads_that_read_ahead_change_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    bench.write("a.csv", long_text())
    source = source_of(bench, "csv", shard=width, in_memory_bytes=2**30)
    (file,) = source.list().files
    ahead = source.scan(file).content
    monkeypatch.setattr(route_file, "ROWS_WORTH_A_THREAD", 2**40)
    monkeypatch.setattr(route_file, "BYTES_WORTH_A_THREAD", 2**40)
    monkeypatch.setattr(routing, "SCATTERED", 0)
    assert source.scan(file).content == ahead
    assert sum(ahead["rows"]) == 400_000


def test_a_long_file_that_is_corrupt_far_behind_is_named_and_leaves_no_thread(bench: Any) -> None:
    data = gzip.compress(long_text().encode(), compresslevel=1)
    (bench.folder / "a.csv.gz").write_bytes(data[:-100])
    source = bench.source("a.csv.gz", format="csv", columns=CONTRACT)
    (file,) = source.list().files
    with pytest.raises(SourceUnreadable, match=r"a\.csv\.gz: is truncated or corrupt"):
        source.scan(file)
    assert not [thread for thread in threading.enumerate() if thread.name == "raypipe-ahead"]


def test_a_missing_file_is_named(bench: Any) -> None:
    with pytest.raises(RaypipeError, match=r"missing\.csv"):
        bench.source("missing.csv", format="csv").list()


# ---- the rest of the port ---------------------------------------------------------------------------------


def test_a_source_travels_to_workers(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(1, 2), form)
    source = source_of(bench, form)
    bench.index(source)
    travelled = pickle.loads(pickle.dumps(source))
    assert travelled == source
    assert ids(bench.read(travelled))[:2] == [[0], [1]]


def test_scans_count_the_bytes_that_they_read(bench: Any, form: str) -> None:
    write_rows(bench.folder / f"a.{form}", days(*[1] * 200), form)  # all in one cell: of Parquet the footer tells
    source = source_of(bench, form)
    (file,) = source.list().files
    entry = source.scan(file)
    assert json.loads(json.dumps(entry.content)) == entry.content
    assert 0 < entry.bytes_read <= file.size_bytes
    assert (entry.bytes_read == file.size_bytes) == (form != "parquet")


def test_columns_come_from_a_sample(bench: Any, form: str) -> None:
    source = source_of(bench, form)
    assert source.columns(source.list()) == {}
    write_rows(bench.folder / f"a.{form}", days(1), form)
    assert dict(source.columns(source.list())) == {"id": "string" if form == "csv" else "int64", "ts": "string"}


def test_windows_may_be_many_and_overlap(bench: Any, form: str) -> None:
    rng = random.Random(1)
    write_rows(bench.folder / f"a.{form}", days(*[rng.randint(1, 9) for _ in range(20)]), form)
    source = source_of(bench, form, shard="1h")
    start = source.time.start_us
    windows = [Window(start, start + 9 * DAY_US), *bench.windows(source), Window(start + DAY_US // 2, start + 3 * DAY_US)]
    slices = source.slices(bench.index(source), windows)
    assert len(slices) == len(windows) == 242
    rows = [
        sum(batch.rows.num_rows for batch in source.read([window], some, None))
        for window, some in zip(windows, slices, strict=True)
    ]
    assert rows[0] == 20 == sum(rows[1:-1])
    everything = [row["_time"] for row in bench.read(source, [windows[0]]).rows[0]]
    assert rows[-1] == sum(windows[-1].start_us <= time < windows[-1].end_us for time in everything)


def test_an_empty_folder_lists_nothing(bench: Any, form: str) -> None:
    source = source_of(bench, form)
    listing = source.list()
    assert listing.files == ()
    assert source.unindexed(listing) == ()
    assert source.slices(listing, bench.windows(source)) == [()] * 10
    assert source.outside(listing) == 0
    assert list(source.read(bench.windows(source), [], None)) == []
    assert not bench.state.exists()
