from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.core.calendar import Calendar, parse_width
from raypipe.core.window import Window
from raypipe.errors import SchemaDrift
from raypipe.pipeline import EventTime
from raypipe.ports import Reject
from raypipe.sources import routing
from raypipe.sources.lines import DecodedBlock
from raypipe.sources.routing import Router
from raypipe.sources.row_bytes import row_bytes
from raypipe.sources.slice_writer import SliceWriter
from raypipe.sources.slices import RoutedFile, Sorted

HOUR_US = 3_600_000_000
ALL = [Window(-(2**60), 2**60)]
TIME = EventTime(column="ts", start_us=0, end_us=None, shard=parse_width("1h"))


def block(rows: Sequence[tuple[str | None, str | None]], first: int = 2, rejects: Sequence[Reject] = ()) -> DecodedBlock:
    columns = {"ts": pa.array([row[0] for row in rows], pa.string()), "x": pa.array([row[1] for row in rows], pa.string())}
    return DecodedBlock(
        pa.RecordBatch.from_pydict({**columns, "_position": pa.array(range(first, first + len(rows)), pa.int64())}), tuple(rejects)
    )


def route(
    blocks: Sequence[DecodedBlock], width: str = "1h", end_us: int | None = None, **options: Any
) -> tuple[dict[str, Any], RoutedFile]:
    time = EventTime(column="ts", start_us=0, end_us=end_us, shard=parse_width(width))
    writer = SliceWriter(Path("unused"), memory_bytes=2**40)
    router = Router("f", time, Calendar(0, time.shard), writer, **options)
    for one in blocks:
        router.add(one, row_bytes(one.rows, named=bool(options.get("columns_vary"))))
    content = router.finish()
    slices = writer.finish()
    assert slices is not None
    return content, slices


def at(hour: int, minute: int = 0) -> str:
    return f"1970-01-01T{hour:02d}:{minute:02d}:00Z"


def test_rows_go_to_their_cells_in_order_of_position() -> None:
    content, slices = route([block([(at(2), "a"), (at(0), "b"), (at(2, 5), "c"), (at(0), None)])])
    assert content["starts"] == [0, 2 * HOUR_US]
    assert content["ends"] == [HOUR_US, 3 * HOUR_US]
    assert content["rows"] == [2, 2]
    (rows,) = slices.read([Window(2 * HOUR_US, 3 * HOUR_US)])
    assert rows.to_pydict() == {
        "ts": [at(2), at(2, 5)],
        "x": ["a", "c"],
        "_position": [2, 4],
        "_time": [2 * HOUR_US, 2 * HOUR_US + 300_000_000],
    }
    (everything,) = slices.read(ALL)
    assert everything["x"].to_pylist() == ["a", "b", "c", None]


def test_rows_outside_the_history_are_counted_and_not_kept() -> None:
    content, slices = route([block([("1969-12-31T23:59:59Z", "a"), (at(1), "b"), (at(2), "c")])], end_us=2 * HOUR_US)
    assert (content["outside"], content["rows"], content["untimed_us"]) == (2, [1], 0)
    assert [rows["x"].to_pylist() for rows in slices.read(ALL)] == [["b"]]


def test_rows_without_event_time_and_malformed_lines_belong_to_the_cell_of_the_earliest_time() -> None:
    malformed = Reject("f", 3, "malformed_line", "why", "raw")
    content, slices = route([DecodedBlock(block([(at(5), "a"), ("junk", "b"), (at(4), "c")]).rows, (malformed,))])
    assert (content["untimed"], content["untimed_us"]) == (2, 4 * HOUR_US)
    (rejects,) = slices.rejects()
    assert [(one.position, one.rule, one.time_us) for one in rejects] == [(3, "malformed_line", None), (3, "no_event_time", None)]
    assert json.loads(rejects[1].raw) == {"ts": "junk", "x": "b"}
    assert rejects[1].error == "ts: got 'junk', expected a time in the format 'iso'"
    without, _ = route([block([(at(5), "a"), (at(4), "c")])])
    assert content["digests"][1] == without["digests"][1]
    assert content["digests"][0] != without["digests"][0]


def test_a_malformed_line_that_changes_makes_its_shard_late_and_one_that_moves_does_not() -> None:
    def digests(position: int, raw: str) -> Any:
        return route(
            [block([(at(4), "a"), (at(5), "c")], rejects=[Reject("f", position, "malformed_line", f"line {position}", raw)])]
        )[0]["digests"]

    first, second = digests(3, "raw")
    assert digests(9, "raw") == [first, second]
    assert digests(3, "war")[0] != first
    assert digests(3, "war")[1] == second


def test_a_file_of_rejects_alone_belongs_to_the_first_cell_of_the_history() -> None:
    content, slices = route([block([("junk", "a")])])
    assert (content["starts"], content["rows"], content["untimed"], content["untimed_us"]) == ([0], [0], 1, 0)
    assert list(slices.read(ALL)) == []


def test_a_file_without_anything_has_no_cells() -> None:
    content, slices = route([block([])])
    assert (content["starts"], content["untimed"], content["outside"]) == ([], 0, 0)
    assert (list(slices.read(ALL)), list(slices.rejects())) == ([], [])


def test_a_time_far_away_costs_no_more_than_another() -> None:
    content, _ = route([block([(at(0), "a"), ("9998-12-31T00:00:00Z", "b")])], width="1m")
    assert len(content["starts"]) == 2


def test_only_the_wanted_columns_are_kept_and_all_count_for_the_digest() -> None:
    content, slices = route([block([(at(0), "a")])], stored=["ts"])
    other, _ = route([block([(at(0), "b")])], stored=["ts"])
    assert next(iter(slices.read(ALL))).schema.names == ["ts", "_position", "_time"]
    assert content["digests"] != other["digests"]


def test_a_missing_time_column_is_drift_or_untimed() -> None:
    nothing = DecodedBlock(pa.RecordBatch.from_pydict({"y": ["1"], "_position": pa.array([2], pa.int64())}))
    with pytest.raises(SchemaDrift, match=r"f: has no event time column 'ts', its columns are y;"):
        route([nothing], time_required=True)
    assert route([nothing])[0]["untimed"] == 1


texts = st.one_of(st.none(), st.text(max_size=3))
times = st.one_of(st.integers(0, 23).map(at), st.sampled_from(["junk", None, "1969-01-01T00:00:00Z"]))
lines = st.lists(st.tuples(times, texts), max_size=30)


flushes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(lines, st.lists(st.integers(0, 30), max_size=4), flushes, st.sampled_from(["1h", "1d", "7m"]), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_digests_and_rows_do_not_depend_on_blocks_and_flushes(
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[str | None, str | None]],
    cuts: list[int],
    flush_bytes: tuple[int, int],
    width: str,
    vary: bool,
) -> None:
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    blocks = [block(rows[a:b], first=a + 2) for a, b in itertools.pairwise(edges)]
    monkeypatch.setattr(routing, "FLUSH_BYTES", 2**40)
    whole, whole_slices = route([block(rows)], width, columns_vary=vary)
    monkeypatch.setattr(routing, "FLUSH_BYTES", flush_bytes[0])
    monkeypatch.setattr(routing, "FLUSH_EARLY_BYTES", flush_bytes[1])
    parts, parts_slices = route(blocks, width, columns_vary=vary)
    assert parts == whole
    assert _delivered(parts_slices) == _delivered(whole_slices)
    assert list(parts_slices.rejects()) == list(whole_slices.rejects())


@pytest.mark.parametrize("chars", [*range(1_990, 2_050), 5_000, 70_000])
def test_every_byte_of_long_rows_counts_for_the_digest_however_it_is_fed(chars: int) -> None:
    def digest(*texts: str, apart: bool = False) -> str:
        rows = [(at(0), text) for text in texts]
        blocks = [block([row], first=place + 2) for place, row in enumerate(rows)] if apart else [block(rows)]
        (found,) = route(blocks)[0]["digests"]
        return str(found)

    long = "x" * chars
    assert digest(long, "c", apart=True) == digest(long, "c")
    assert len({digest(long), digest(long[:-1] + "y"), digest("y" + long[1:]), digest(long, "c")}) == 4


@pytest.mark.parametrize(
    ("hours", "written"),
    [
        pytest.param(range(8), [0, 0, 3, 3, 3, 6, 6, 6, 8], id="in order: while the next are decoded"),
        pytest.param([5] * 8, [0, 0, 0, 0, 0, 0, 0, 0, 1], id="scattered: sorted together"),
    ],
)
def test_rows_in_order_are_written_as_they_come_and_others_wait(
    monkeypatch: pytest.MonkeyPatch, hours: Sequence[int], written: list[int]
) -> None:
    batches: list[pa.RecordBatch] = []
    at_block: list[int] = []

    class Counting(SliceWriter):
        def add(self, batch: pa.RecordBatch, layout: Sorted) -> None:
            batches.append(batch)
            super().add(batch, layout)

    router = Router("f", TIME, Calendar(0, TIME.shard), Counting(Path("unused"), memory_bytes=2**40))
    for place, hour in enumerate(hours):
        one = block([(at(hour), "a")], first=place + 2)
        monkeypatch.setattr(routing, "FLUSH_EARLY_BYTES", 3 * one.rows.nbytes)  # with their times two are less, three are more
        router.add(one, row_bytes(one.rows, named=False))
        at_block.append(len(batches))
    router.finish()
    assert [*at_block, len(batches)] == written


def _delivered(slices: RoutedFile) -> list[tuple[int, str | None]]:
    return [(row["_position"], row["x"]) for rows in slices.read(ALL) for row in rows.to_pylist()]


def test_names_of_columns_are_part_of_the_digest(micros: Callable[[str], int]) -> None:
    def named(name: str) -> Any:
        rows = pa.RecordBatch.from_pydict({"ts": [at(0)], name: ["1"], "_position": pa.array([2], pa.int64())})
        return route([DecodedBlock(rows)])[0]["digests"]

    assert named("x") != named("y")


def test_many_rejects_do_not_pile_up_while_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    malformed = [Reject("f", place, "malformed_line", "why", "raw") for place in range(2, 7)]
    content, slices = route([block([], rejects=malformed[:3]), block([], rejects=malformed[3:])])
    assert content["untimed"] == 5
    assert [one for some in slices.rejects() for one in some] == malformed
