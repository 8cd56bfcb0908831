"""A table as those see it who read it: parts, versions, watermark; and copies that the rows alone decide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.core.merge import DELETED_COLUMN, Keyed
from raypipe.core.upstream import TablePart, UpstreamTable
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.duckdb_upstream import DuckDBTable
from raypipe.destinations.table_copies import ROW_GROUP_ROWS
from raypipe.errors import InputChanged

HOUR_US = 3_600_000_000


@pytest.fixture
def table(path: Path, still_clock: Any) -> DuckDBTable:
    return DuckDBTable(str(path), "hourly", still_clock)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def seen(table: DuckDBTable) -> UpstreamTable:
    found = table.table()
    assert found is not None
    return found


def copied(table: DuckDBTable, folder: Path, *hours: int, first: str = "n", columns: list[str] | None = None) -> list[Any]:
    """Copy the parts of some hours and return the rows of each copy."""

    def chosen(found: UpstreamTable) -> Mapping[TablePart, Path]:
        parts = [one for one in found.parts if one.window is None or one.window.start_us // HOUR_US in hours]
        return {part: folder / f"{number}.parquet" for number, part in enumerate(parts)}

    table.copy(chosen, columns, first)
    return [pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))]


def test_before_anything_is_written_there_is_no_table_and_no_file_is_made(
    file: DuckDBFile, table: DuckDBTable, work: Any, path: Path
) -> None:
    assert (table.table(), table.schema(), list(table.others())) == (None, None, [])
    assert not path.exists()

    file.open_run(work.opening())
    assert seen(table) == UpstreamTable("flights", None, {}, ())
    assert (table.schema(), list(table.others())) == (None, ["clean"])
    assert DuckDBTable(str(path), "yearly", table.clock).table() is None


def test_each_live_range_that_holds_rows_is_a_part_whose_version_is_that_of_its_rows(
    file: DuckDBFile, table: DuckDBTable, work: Any
) -> None:
    opened = file.open_run(work.opening())
    rows = {
        work.hours(0): {"hourly": [{"n": 1}]},
        work.hours(1): {"hourly": []},
        work.hours(2, 4): {"hourly": [{"n": 2}, {"n": 3}]},
    }
    file.commit(*work.group(opened, rows))
    before = seen(table)
    assert [(one.window, one.rows) for one in before.parts] == [(work.hours(0), 1), (work.hours(2, 4), 2)]
    assert (before.watermark_us, before.columns) == (4 * HOUR_US, {"n": "BIGINT"})

    def again(rows: list[Mapping[str, Any]]) -> list[TablePart]:
        file.commit(*work.group(opened, {work.hours(2, 4): {"hourly": rows}}, snapshot=file.snapshot()))
        return [one for one in seen(table).parts if one not in before.parts]

    assert again([{"n": 3}, {"n": 2}]) == []  # the same rows are the same version, whoever committed them
    assert [one.window for one in again([{"n": 3}, {"n": 4}])] == [work.hours(2, 4)]


def test_the_watermark_is_that_of_the_table_and_stops_at_a_gap(file: DuckDBFile, table: DuckDBTable, work: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}, work.hours(2): {"hourly": [{"n": 1}]}}))
    assert seen(table).watermark_us == HOUR_US

    file.open_run(work.opening("run2", fingerprints={"hourly": "f1", "clean": "g1", "new": "x"}))
    assert seen(table).watermark_us == HOUR_US  # an output that the pipeline adds has nothing yet


def test_a_table_that_is_merged_is_one_part_and_any_commit_makes_another_version(
    file: DuckDBFile, table: DuckDBTable, work: Any
) -> None:
    ties = {"_time": 0, "_source": "a", "_position": 0, DELETED_COLUMN: False}
    opened = file.open_run(work.opening(merges={"hourly": Keyed(("k",), ())}, fingerprints={"hourly": "f1"}))
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"k": 1, **ties}]}, work.hours(1): {"hourly": [{"k": 1, **ties}]}}))
    (before,) = seen(table).parts
    assert (before.window, before.rows) == (None, 1)

    file.commit(*work.group(opened, {work.hours(2): {"hourly": [{"k": 2, **ties}]}}))
    (after,) = seen(table).parts
    assert (after.window, after.rows) == (None, 2)
    assert after.version != before.version


def test_a_copy_is_in_the_order_of_its_rows_whatever_the_order_of_commits(
    file: DuckDBFile, table: DuckDBTable, work: Any, tmp_path: Path
) -> None:
    opened = file.open_run(work.opening())
    rows = [{"n": 2, "a": "x"}, {"n": 1, "a": "z"}, {"n": None, "a": "y"}, {"n": 1, "a": "b"}]
    file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"n": 7, "a": "later"}]}}))
    file.commit(*work.group(opened, {work.hours(0): {"hourly": rows}}))

    first, second = copied(table, tmp_path / "one", 0, 1)
    assert [(row["n"], row["a"]) for row in first] == [(1, "b"), (1, "z"), (2, "x"), (None, "y")]
    assert second == [{"n": 7, "a": "later"}]  # _shard is raypipe's own

    file.commit(*work.group(opened, {work.hours(0): {"hourly": rows[::-1]}}, snapshot=file.snapshot()))
    assert copied(table, tmp_path / "two", 0) == [first]
    assert copied(table, tmp_path / "three", 0, columns=["a"])[0] == [{"a": text} for text in ("b", "x", "y", "z")]
    assert [names(tmp_path / name) for name in ("one", "two")] == [["0.parquet", "1.parquet"], ["0.parquet"]]


def test_row_groups_hold_a_fixed_number_of_rows(file: DuckDBFile, table: DuckDBTable, work: Any, tmp_path: Path) -> None:
    opened = file.open_run(work.opening())
    request, (staged,) = work.group(opened, {work.hours(0): {"hourly": [{"n": n} for n in range(ROW_GROUP_ROWS + 5)]}})
    file.commit(request, [staged])

    copied(table, tmp_path / "copies", 0)

    metadata = pq.read_metadata(tmp_path / "copies" / "0.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 5]


def test_times_with_a_zone_are_utc_whatever_the_machine_says(
    file: DuckDBFile, table: DuckDBTable, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 0}]}}, types={"n": pa.timestamp("us", "UTC")}))

    copied(table, tmp_path / "copies", 0)

    assert pq.read_schema(tmp_path / "copies" / "0.parquet").field("n").type == pa.timestamp("us", "UTC")


def test_a_table_that_is_gone_has_changed_and_nothing_is_left_half_done(
    file: DuckDBFile, table: DuckDBTable, work: Any, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}}))
    monkeypatch.setattr("raypipe.destinations.table_copies._order", lambda names, first: iter(["no_such_column"]))
    with pytest.raises(Exception, match="a table cannot be copied into"):
        copied(table, tmp_path / "copies", 0)
    assert names(tmp_path / "copies") == []

    path.unlink()
    with pytest.raises(InputChanged, match="no pipeline writes a table hourly there any more"):
        copied(table, tmp_path / "copies", 0)
