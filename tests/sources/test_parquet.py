from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.core.window import Window
from raypipe.errors import SourceUnreadable
from raypipe.sources import parquet_open, stream

DAY_US = 86_400_000_000


@pytest.fixture
def write(bench: Any) -> Callable[..., None]:
    def run(columns: dict[str, Any], name: str = "f.parquet", **options: Any) -> None:
        pq.write_table(pa.table(columns), bench.folder / name, **{"row_group_size": 2, **options})

    return run


def test_rows_come_typed_with_their_place_in_the_file(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    write({"ts": timestamps("2024-01-02", "2024-01-01", "2024-01-02", "2024-01-03"), "n": pa.array([1, 2, 3, 4], pa.int16())})
    source = bench.source("*.parquet", format="parquet")
    reading = bench.read(source)
    assert reading.column("n")[:4] == [[2], [1, 3], [4], []]
    assert reading.column("_position")[:3] == [[1], [0, 2], [3]]
    assert reading.column("_source")[:3] == [[0], [0, 0], [0]]
    listing = source.list()
    (batch,) = source.read([Window(0, 2**60)], [one for some in reading.slices for one in some], ["n"])
    assert batch.rows.schema.names == ["n", "_position", "_time", "_source"]
    assert [str(field.type) for field in batch.rows.schema] == ["int16", "int64", "int64", "uint32"]
    assert len(listing.files) == 1


def test_only_row_groups_that_meet_the_window_are_read(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"ts": timestamps(*(f"2024-01-0{day}" for day in (1, 1, 2, 2, 3, 3)))})
    read: list[tuple[list[int], list[str]]] = []
    iterate = pq.ParquetFile.iter_batches

    def spy(self: Any, *args: Any, **options: Any) -> Any:
        read.append((options["row_groups"], options["columns"]))
        return iterate(self, *args, **options)

    source = bench.source("*.parquet", format="parquet")
    bench.index(source)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    reading = bench.read(source, bench.windows(source)[1:2], ["ts"])
    assert read == [([1], ["ts"])]
    assert [(one.parts, one.exact) for one in reading.slices[0]] == [((1,), True)]
    assert reading.column("_position") == [[2, 3]]


def test_rows_without_event_time_are_rejects_of_one_window_whole_and_once(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    write({"ts": timestamps("2024-01-03", None, "2024-01-02", "2024-01-02", None, None), "n": range(6), "s": list("abcdef")})
    reading = bench.read(bench.source("*.parquet", format="parquet"), columns=["n"])
    assert [len(some) for some in reading.rejects] == [0, 3, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [(one.position, one.rule, json.loads(one.raw)) for one in reading.rejects[1]] == [
        (1, "no_event_time", {"ts": None, "n": 1, "s": "b"}),
        (4, "no_event_time", {"ts": None, "n": 4, "s": "e"}),
        (5, "no_event_time", {"ts": None, "n": 5, "s": "f"}),
    ]
    assert reading.column("n")[:4] == [[], [2, 3], [0], []]
    assert "s" not in reading.rows[1][0]


def test_nested_event_time_is_read_with_only_its_own_columns(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    payload = pa.StructArray.from_arrays([timestamps("2024-01-02", "2024-01-01"), pa.array([1, 2])], ["ts", "x"])
    write({"payload": payload, "n": [10, 20]})
    reading = bench.read(bench.source("*.parquet", format="parquet", column="payload.ts"), columns=["n"])
    assert reading.column("n")[:2] == [[20], [10]]
    assert set(reading.rows[0][0]) == {"n", "_position", "_time", "_source"}


def test_a_wall_clock_in_a_zone_with_a_change_of_clocks_places_every_row_once(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    write(
        {
            "ts": timestamps(
                "2024-03-30T23:59:59", "2024-03-31T00:00:00", "2024-03-31T02:30:00", "2024-03-31T23:59:59", "2024-04-01T00:00:00"
            ),
            "n": range(5),
        }
    )
    source = bench.source("*.parquet", format="parquet", zone="Europe/Madrid", start_us=1711753200000000, end="2024-04-05")
    reading = bench.read(source)
    assert [(window.end_us - window.start_us) // 3_600_000_000 for window in bench.windows(source)][:3] == [24, 23, 24]
    assert reading.column("n")[:3] == [[0], [1, 3], [4]]
    assert [(one.position, one.rule) for one in reading.rejects[0]] == [(2, "no_such_time")]


def test_row_groups_larger_than_a_batch_are_cut(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        {"ts": timestamps(*["2024-01-01"] * 5000), "s": ["x" * 1000 + str(place) for place in range(5000)]},
        row_group_size=5000,
        use_dictionary=False,
    )
    monkeypatch.setattr(parquet_open, "BATCH_BYTES", 2**21)
    monkeypatch.setattr(stream, "JOINED_ROWS", 1)
    source = bench.source("*.parquet", format="parquet")
    listing = bench.index(source)
    (slices,) = source.slices(listing, bench.windows(source)[:1])
    sizes = [batch.rows.num_rows for batch in source.read(bench.windows(source)[:1], slices, None)]
    assert sum(sizes) == 5000
    assert 1024 <= max(sizes) <= 2**21 // 1000


def test_columns_that_a_file_lacks_are_left_to_the_contract(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    write({"ts": timestamps("2024-01-01"), "a": [1]}, "a.parquet")
    write({"ts": timestamps("2024-01-01"), "b": [2]}, "b.parquet")
    rows = bench.read(bench.source("*.parquet", format="parquet"), columns=["a", "b", "never"]).rows[0]
    assert [(row.get("a"), row.get("b"), row["_source"]) for row in rows] == [(1, None, 0), (None, 2, 1)]


def test_a_file_without_the_time_column_is_quarantined_where_drift_may_be(bench: Any, write: Callable[..., None]) -> None:
    write({"a": [1, 2]})
    reading = bench.read(bench.source("*.parquet", format="parquet", on_drift="quarantine"))
    assert [(one.position, one.raw) for one in reading.rejects[0]] == [(0, '{"a": 1}'), (1, '{"a": 2}')]


def test_a_page_that_fails_its_checksum_names_the_file(
    bench: Any, write: Callable[..., None], timestamps: Callable[..., pa.Array]
) -> None:
    text = "a value that is easy to find in the file"
    write(
        {"ts": timestamps("2024-01-01"), "s": [text]},
        write_page_checksum=True,
        write_statistics=["ts"],
        compression="none",
        use_dictionary=False,
    )
    path = bench.folder / "f.parquet"
    content = path.read_bytes()
    place = content.index(text.encode())
    path.write_bytes(content[:place] + b"A" + content[place + 1 :])
    with pytest.raises(SourceUnreadable, match=r"f\.parquet: is not a whole Parquet file.*CRC"):
        bench.read(bench.source("*.parquet", format="parquet"))


def test_texts_that_are_stored_as_codes_come_as_codes(bench: Any, write: Callable[..., None]) -> None:
    rows = 40_000
    start_us = 1_704_067_200_000_000  # 2024-01-01
    times = pa.array([start_us + place * 4_000_000 for place in range(rows)], pa.timestamp("us"))
    repeated = [None if place % 7 == 0 else f"value {place % 5} of group {place // 20_000}" for place in range(rows)]
    distinct = [f"text {place}" for place in range(rows)]
    columns = {"ts": times, "repeated": repeated, "distinct": distinct, "coded": pa.array(repeated).dictionary_encode()}
    write(columns, row_group_size=20_000, dictionary_pagesize_limit=4_096)  # `distinct` is written out from there on
    source = bench.source("*.parquet", format="parquet")
    bench.index(source)
    window = Window(start_us, start_us + 30_000 * 4_000_000)
    (slices,) = source.slices(source.list(), [window])
    batches = list(source.read([window], slices, None))
    kinds = [str(batches[0].rows.schema.field(name).type).partition("<")[0] for name in ("repeated", "distinct", "coded")]
    assert kinds == ["dictionary", "string", "dictionary"]
    for name, values in (("repeated", repeated), ("distinct", distinct), ("coded", repeated)):
        assert [one for batch in batches for one in batch.rows[name].to_pylist()] == values[:30_000]


def test_event_times_and_small_row_groups_are_not_read_as_codes(bench: Any, write: Callable[..., None]) -> None:
    write({"ts": ["2024-01-01"] * 20_000, "s": ["a"] * 20_000}, row_group_size=20_000)
    write({"ts": ["2024-01-01"] * 100, "s": ["a"] * 100}, "g.parquet", row_group_size=100)
    write({"ts": ["2024-01-01"] * 20_100, "s": ["a"] * 20_100}, "h.parquet", row_group_size=20_000)  # but for the last rows
    source = bench.source("*.parquet", format="parquet")
    bench.index(source)
    window = bench.windows(source)[0]
    (slices,) = source.slices(source.list(), [window])
    batches = list(source.read([window], slices, None))
    assert {str(one.rows.schema.field("ts").type) for one in batches} == {"string"}
    kinds = [str(one.rows.schema.field("s").type).partition("<")[0] for one in batches]
    assert kinds == ["dictionary", "string", "dictionary"]
