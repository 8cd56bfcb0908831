from __future__ import annotations

import itertools
from typing import Any

from raypipe.core.shard import InputFile
from raypipe.core.window import Window
from raypipe.sources.cut import cut_of

FILE = InputFile("f", 1000, "v")


def routed(**more: Any) -> dict[str, Any]:
    cells = {"starts": [0, 10, 30], "ends": [10, 20, 40], "rows": [1, 2, 3], "digests": ["a", "b", "c"]}
    return {"kind": "routed", **cells, "untimed": 0, "untimed_us": 0, "outside": 0, **more}


def parquet(*groups: list[int | None], untimed_us: int = 0) -> dict[str, Any]:
    return {
        "kind": "parquet",
        "groups": groups,
        "untimed": sum(group[3] or 0 for group in groups),
        "untimed_us": untimed_us,
        "outside": 0,
    }


def test_a_routed_window_of_one_cell_has_that_cells_digest() -> None:
    one = cut_of(FILE, [routed()]).slice(Window(10, 20))
    assert one is not None
    assert (one.digest, one.rows, one.size_bytes, one.exact, one.untimed, one.parts) == ("b", 2, 333, True, False, ())


def test_a_routed_window_of_several_cells_has_a_digest_of_all() -> None:
    cut = cut_of(FILE, [routed()])
    both = cut.slice(Window(0, 20))
    assert both is not None
    assert both.rows == 3
    other = cut_of(FILE, [routed(digests=["a", "x", "c"])]).slice(Window(0, 20))
    assert other is not None
    assert both.digest not in ("a", "b", other.digest)
    assert cut.slice(Window(0, 30)) == both


def test_a_window_that_cuts_a_cell_takes_its_digest_and_is_not_exact() -> None:
    one = cut_of(FILE, [routed()]).slice(Window(12, 15))
    assert one is not None
    assert (one.digest, one.exact) == ("b", False)


def test_a_window_that_meets_no_cell_has_no_slice() -> None:
    assert cut_of(FILE, [routed()]).slice(Window(20, 30)) is None
    assert cut_of(FILE, [routed(starts=[], ends=[], rows=[], digests=[])]).span is None


def test_rejects_belong_to_the_window_of_their_instant() -> None:
    cut = cut_of(FILE, [routed(untimed=4, untimed_us=30, rows=[1, 2, 0])])
    with_rejects, without = cut.slice(Window(30, 40)), cut.slice(Window(0, 20))
    assert with_rejects is not None
    assert without is not None
    assert (with_rejects.untimed, with_rejects.rows) == (True, 4)
    assert (without.untimed, without.rows) == (False, 3)


def test_a_parquet_window_takes_the_row_groups_that_can_hold_its_rows() -> None:
    cut = cut_of(FILE, [parquet([10, 0, 9, 0, 0, 100], [10, 5, 24, 0, 0, 100], [10, 30, 39, 0, 0, 100])])
    assert cut.span == (0, 40)
    first, last = cut.slice(Window(0, 10)), cut.slice(Window(25, 100))
    assert first is not None
    assert last is not None
    assert (first.parts, first.exact, first.digest, first.rows, first.size_bytes) == ((0, 1), False, "", 12, 125)
    assert (last.parts, last.exact, last.rows, last.size_bytes) == ((2,), True, 10, 100)
    assert cut.slice(Window(25, 30)) is None


def test_parquet_rows_without_time_are_taken_by_one_window_from_all_row_groups() -> None:
    cut = cut_of(FILE, [parquet([10, 0, 9, 0, 0, 100], [10, 30, 39, 2, 0, 100], [3, None, None, 3, 0, 10])])
    first, second = cut.slice(Window(0, 10)), cut.slice(Window(30, 40))
    assert first is not None
    assert second is not None
    assert (first.parts, first.untimed, first.exact, first.rows) == ((0, 1, 2), True, False, 15)
    assert (second.parts, second.untimed, second.exact) == ((1,), False, False)


def test_a_parquet_file_of_untimed_rows_alone_spans_their_instant() -> None:
    cut = cut_of(FILE, [parquet([3, None, None, 3, 0, 10], untimed_us=7)])
    assert cut.span == (7, 8)
    assert cut_of(FILE, [parquet()]).span is None


def test_rows_outside_the_history_make_a_row_group_inexact() -> None:
    one = cut_of(FILE, [parquet([10, 0, 9, 0, 1, 100])]).slice(Window(0, 10))
    assert one is not None
    assert not one.exact


def cells(*edges: int) -> dict[str, Any]:
    """Cells that touch, named by their edges, with a row for each unit."""
    pairs = list(itertools.pairwise(edges))
    return routed(
        starts=[start for start, _ in pairs],
        ends=[end for _, end in pairs],
        rows=[end - start for start, end in pairs],
        digests=[f"{start}-{end}" for start, end in pairs],
    )


def digest(window: tuple[int, int], *contents: dict[str, Any], end_us: int | None = None) -> str:
    one = cut_of(FILE, contents, end_us).slice(Window(*window))
    assert one is not None
    return one.digest


def test_a_newer_width_changes_no_digest_of_a_window_of_whole_older_cells() -> None:
    old, finer, coarser = cells(0, 10, 20, 30), cells(0, 5, 10, 15, 20, 25, 30), cells(0, 30)
    for window in [(0, 10), (10, 20), (0, 20), (0, 30)]:
        assert (
            digest(window, old) == digest(window, old, finer) == digest(window, old, coarser) == digest(window, old, finer, coarser)
        )


def test_a_window_that_cuts_older_cells_takes_the_digest_of_the_newer() -> None:
    assert digest((0, 5), cells(0, 10, 20), cells(0, 5, 10, 15, 20)) == "0-5"
    assert digest((0, 30), cells(0, 20, 40), cells(0, 30, 60)) == "0-30"


def test_a_window_that_cuts_the_cells_of_all_widths_keeps_its_first_digest() -> None:
    assert digest((3, 7), cells(0, 10)) == digest((3, 7), cells(0, 10), cells(0, 5, 10)) == "0-10"


def test_a_window_without_rows_by_any_width_has_no_slice() -> None:
    assert cut_of(FILE, [cells(0, 10), cells(0, 5)]).slice(Window(5, 10)) is None
    assert cut_of(FILE, [cells(), cells()]).span is None
    assert cut_of(FILE, [cells(0, 10), cells(0, 5)]).span == (0, 10)


def test_the_last_window_of_history_is_whole_though_its_cell_sticks_out() -> None:
    weeks, days = cells(0, 7, 14), cells(*range(11))
    assert digest((7, 10), weeks, end_us=10) == digest((7, 10), weeks, days, end_us=10) == "7-14"
