from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.core.calendar import Calendar, Width, parse_width
from raypipe.core.shard import InputFile
from raypipe.errors import InputChanged, SchemaDrift, SourceUnreadable
from raypipe.pipeline import EventTime
from raypipe.sources import parquet_footer
from raypipe.sources.parquet_footer import index_parquet

DAY_US = 86_400_000_000
MADRID = "Europe/Madrid"
CALENDAR = Calendar(0, Width(1200, "mo"))  # all of a file lies in one cell: its footer tells


def event_time(micros: Callable[[str], int], column: str = "ts", form: str = "iso", zone: str = "UTC") -> EventTime:
    start, end = micros("2026-01-01"), micros("2027-01-01")
    return EventTime(column=column, format=form, zone=zone, start_us=start, end_us=end, shard=parse_width("1d"))


@pytest.fixture
def index(tmp_path: Path, micros: Callable[[str], int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a file and index it; the second of what comes back tells how many row groups had to be looked into."""
    looked: list[int] = []
    look = parquet_footer._from_column
    monkeypatch.setattr(
        parquet_footer, "_from_column", lambda parquet, number, *rest: looked.append(number) or look(parquet, number, *rest)
    )

    def run(
        columns: dict[str, Any], *, group_rows: int = 2, required: bool = True, **options: Any
    ) -> tuple[dict[str, Any], list[int]]:
        written = {
            name: options.pop(name)
            for name in ("write_statistics", "use_deprecated_int96_timestamps", "coerce_timestamps")
            if name in options
        }
        path = tmp_path / "f.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=group_rows, **written)
        looked.clear()
        content, read_bytes = index_parquet(
            InputFile(str(path), 0, ""), event_time(micros, **options), CALENDAR, time_required=required
        )
        assert 0 < read_bytes <= path.stat().st_size
        return content, list(looked)

    return run


def spans(content: dict[str, Any]) -> list[list[Any]]:
    return [group[:5] for group in content["groups"]]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_statistics_tell_the_times_of_each_row_group(
    index: Callable[..., Any], timestamps: Callable[..., pa.Array], micros: Callable[[str], int], unit: str, zone: str | None
) -> None:
    column = timestamps("2026-02-01", "2026-02-03", None, "2026-02-02", unit=unit, zone=zone)
    content, looked = index({"ts": column})
    a, b, c = (micros(f"2026-02-0{day}") for day in (1, 2, 3))
    assert spans(content) == [[2, a, c, 0, 0], [2, b, b, 1, 0]]
    assert (content["untimed"], content["untimed_us"], content["outside"], looked) == (1, a, 0, [])


@pytest.mark.parametrize("options", [{"write_statistics": False}, {"use_deprecated_int96_timestamps": True}])
def test_without_statistics_the_time_column_is_read_once(
    index: Callable[..., Any], timestamps: Callable[..., pa.Array], micros: Callable[[str], int], options: dict[str, bool]
) -> None:
    content, looked = index({"ts": timestamps("2026-02-01", "2025-12-31T23:59:59", None)}, group_rows=3, **options)
    assert spans(content) == [[3, micros("2025-12-31T23:59:59"), micros("2026-02-01"), 1, 1]]
    assert content["untimed_us"] == micros("2026-01-01")
    assert looked == [0]


def test_only_row_groups_that_stick_out_are_counted_row_by_row(
    index: Callable[..., Any], timestamps: Callable[..., pa.Array]
) -> None:
    column = timestamps("2020-01-01", None, "2025-12-31", "2026-01-01", "2026-06-01", "2026-06-02", "2027-01-01", "2030-01-01")
    content, looked = index({"ts": column})
    assert [group[4] for group in content["groups"]] == [1, 1, 0, 2]
    assert content["outside"] == 4
    assert looked == [1]


def test_a_row_group_of_nulls_has_no_times_and_is_not_read(index: Callable[..., Any], timestamps: Callable[..., pa.Array]) -> None:
    content, looked = index({"ts": timestamps(None, None)})
    assert (spans(content), looked) == ([[2, None, None, 2, 0]], [])


def test_nested_event_time_has_statistics_too(
    index: Callable[..., Any], timestamps: Callable[..., pa.Array], micros: Callable[[str], int]
) -> None:
    times = timestamps("2026-02-01", "2026-02-02")
    payload = pa.StructArray.from_arrays([times, pa.array([1, 2])], ["ts", "x"], mask=pa.array([False, True]))
    content, looked = index({"payload": payload}, column="payload.ts")
    assert (spans(content), looked) == ([[2, micros("2026-02-01"), micros("2026-02-01"), 1, 0]], [])


def test_a_range_in_which_clocks_skip_a_time_is_looked_at(
    index: Callable[..., Any], timestamps: Callable[..., pa.Array], micros: Callable[[str], int]
) -> None:
    column = timestamps("2026-03-28", "2026-03-29T02:30:00", "2026-03-30", "2026-02-01", "2026-10-01", "2026-10-31")
    content, looked = index({"ts": column}, group_rows=3, zone=MADRID)
    assert spans(content)[0] == [3, micros("2026-03-27T23:00:00"), micros("2026-03-29T22:00:00"), 1, 0]
    assert looked == [0, 1]
    content, looked = index({"ts": column[4:]}, zone=MADRID)
    assert (spans(content), looked) == ([[2, micros("2026-09-30T22:00:00"), micros("2026-10-30T23:00:00"), 0, 0]], [])


def test_epochs_and_dates_have_statistics_and_text_is_read(index: Callable[..., Any], micros: Callable[[str], int]) -> None:
    second = micros("2026-02-01") // 1_000_000
    day = micros("2026-02-01")
    assert index({"ts": pa.array([second])}, form="epoch_s")[0]["groups"][0][:3] == [1, day, day]
    assert index({"ts": pa.array([dt.date(2026, 2, 1)])})[0]["groups"][0][:3] == [1, day, day]
    content, looked = index({"ts": ["2026-02-01T00:00:00+01:00", "2026-02-01T00:00:00Z", "junk"]}, group_rows=3)
    assert (spans(content), looked) == ([[3, day - 3_600_000_000, day, 1, 0]], [0])


def test_times_out_of_range_are_looked_at(index: Callable[..., Any]) -> None:
    content, looked = index({"ts": pa.array([2**61, 0], pa.timestamp("us"))})
    assert (spans(content), looked) == ([[2, 0, 0, 1, 1]], [0])


def test_a_file_without_rows_has_no_groups_or_empty_ones(index: Callable[..., Any], timestamps: Callable[..., pa.Array]) -> None:
    content, _ = index({"ts": timestamps()})
    assert (content["untimed"], content["outside"]) == (0, 0)


def test_a_file_without_the_column_is_drift_or_untimed(index: Callable[..., Any]) -> None:
    with pytest.raises(SchemaDrift, match=r"f\.parquet: has no event time column 'ts', its columns are a, b; .*on_drift"):
        index({"a": [1], "b": [2]})
    assert index({"a": [1]}, required=False)[0]["untimed"] == 1


def test_a_reserved_column_name_is_refused(index: Callable[..., Any], timestamps: Callable[..., pa.Array]) -> None:
    with pytest.raises(SchemaDrift, match="'_time'"):
        index({"ts": timestamps("2026-02-01"), "_time": [1]})


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no footer"])
def test_a_broken_file_is_named(
    tmp_path: Path, micros: Callable[[str], int], timestamps: Callable[..., pa.Array], damage: str
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"ts": timestamps("2026-02-01")}), path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[:-20], "text": b"a,b\n1,2\n" * 20, "no footer": whole[:20] + whole[-8:]}[damage])
    with pytest.raises(SourceUnreadable, match=r"f\.parquet: is not a whole Parquet file"):
        index_parquet(InputFile(str(path), 0, ""), event_time(micros), CALENDAR, time_required=True)


def test_a_file_that_is_gone_changed(tmp_path: Path, micros: Callable[[str], int]) -> None:
    with pytest.raises(InputChanged):
        index_parquet(InputFile(str(tmp_path / "gone.parquet"), 0, ""), event_time(micros), CALENDAR, time_required=True)
