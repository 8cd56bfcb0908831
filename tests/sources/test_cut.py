from __future__ import annotations

import itertools
from typing import Any

from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.sources.cut import UNTOLD, ParquetCut, RoutedCut, cut_of

FILE = InputFile("f", 1000, "v")


def routed(**more: Any) -> dict[str, Any]:
    cells = {"starts": [0, 10, 30], "ends": [10, 20, 40], "rows": [1, 2, 3], "digests": ["a", "b", "c"]}
    return {"kind": "routed", **cells, "untimed": 0, "untimed_us": 0, "outside": 0, **more}


def parquet(*groups: list[int | None], untimed_us: int = 0, cells: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "kind": "parquet",
        "groups": groups,
        "untimed": sum(group[3] or 0 for group in groups),
        "untimed_us": untimed_us,
        "outside": 0,
        "cells": cells,
    }


def taken(cut: RoutedCut | ParquetCut, start_us: int, end_us: int) -> Slice:
    one = cut.slice(Window(start_us, end_us))
    assert isinstance(one, Slice)
    return one


def test_a_routed_window_of_one_cell_has_that_cells_digest() -> None:
    one = taken(cut_of(FILE, [routed()]), 10, 20)
    assert (one.digest, one.rows, one.size_bytes, one.exact, one.untimed, one.parts) == ("b", 2, 333, True, False, ())


def test_a_window_of_several_cells_or_of_a_part_of_one_is_told_by_another_cut() -> None:
    alone, both = cut_of(FILE, [routed()]), cut_of(FILE, [routed(), cells(0, 20, 40), cells(12, 15)])
    for window, digest in (((0, 20), "0-20"), ((12, 15), "12-15")):
        assert alone.slice(Window(*window)) is UNTOLD
        one = taken(both, *window)
        assert (one.digest, one.exact) == (digest, True)


def test_a_window_that_meets_no_cell_has_no_slice() -> None:
    assert cut_of(FILE, [routed()]).slice(Window(20, 30)) is None
    assert cut_of(FILE, [routed(starts=[], ends=[], rows=[], digests=[])]).span is None


def test_rejects_belong_to_the_window_of_their_instant() -> None:
    cut = cut_of(FILE, [routed(untimed=4, untimed_us=30, rows=[1, 2, 0])])
    with_rejects, without = taken(cut, 30, 40), taken(cut, 10, 20)
    assert (with_rejects.untimed, with_rejects.rows) == (True, 4)
    assert (without.untimed, without.rows) == (False, 2)


def test_a_parquet_window_takes_the_row_groups_that_can_hold_its_rows() -> None:
    cut = cut_of(
        FILE, [parquet([10, 0, 9, 0, 0, 100], [10, 5, 24, 0, 0, 100], [10, 30, 39, 0, 0, 100], cells=cells(0, 10, 25, 40))]
    )
    assert cut.span == (0, 40)
    first, last = taken(cut, 0, 10), taken(cut, 25, 100)
    assert (first.parts, first.exact, first.digest, first.rows, first.size_bytes) == ((0, 1), False, "0-10", 12, 125)
    assert (last.parts, last.exact, last.rows, last.size_bytes) == ((2,), True, 10, 100)
    assert cut.slice(Window(26, 29)) is None


def test_parquet_rows_without_time_are_taken_by_one_window_from_all_row_groups() -> None:
    groups = ([10, 0, 9, 0, 0, 100], [10, 30, 39, 2, 0, 100], [3, None, None, 3, 0, 10])
    cut = cut_of(FILE, [parquet(*groups, cells=cells(0, 10, 40))])
    first, second = taken(cut, 0, 10), taken(cut, 10, 40)
    assert (first.parts, first.untimed, first.exact, first.rows) == ((0, 1, 2), True, False, 15)
    assert (second.parts, second.untimed, second.exact) == ((1,), False, False)


def test_a_parquet_file_of_untimed_rows_alone_spans_their_instant() -> None:
    cut = cut_of(FILE, [parquet([3, None, None, 3, 0, 10], untimed_us=7)])
    assert cut.span == (7, 8)
    assert cut_of(FILE, [parquet()]).span is None


def test_rows_outside_the_history_make_a_row_group_inexact() -> None:
    assert not taken(cut_of(FILE, [parquet([10, 0, 9, 0, 1, 100])]), 0, 10).exact


def cells(*edges: int) -> dict[str, Any]:
    """Cells that touch, named by their edges, with a row for each unit."""
    pairs = list(itertools.pairwise(edges))
    return routed(
        starts=[start for start, _ in pairs],
        ends=[end for _, end in pairs],
        rows=[end - start for start, end in pairs],
        digests=[f"{start}-{end}" for start, end in pairs],
    )


def test_what_a_window_holds_is_told_alike_by_every_cut_in_which_it_is_a_cell() -> None:
    days, weeks = cells(0, 1, 2, 3), cells(0, 3)
    for contents in ([days, weeks], [weeks, days]):
        found = [taken(cut_of(FILE, contents), *window) for window in ((0, 1), (1, 2), (0, 3))]
        assert [one.digest for one in found] == ["0-1", "1-2", "0-3"]


def test_a_window_without_rows_by_any_width_has_no_slice() -> None:
    assert cut_of(FILE, [cells(0, 10), cells(0, 5)]).slice(Window(5, 10)) is None
    assert cut_of(FILE, [cells(), cells()]).span is None
    assert cut_of(FILE, [cells(0, 10), cells(0, 5)]).span == (0, 10)


def test_the_last_window_of_history_is_whole_though_its_cell_sticks_out() -> None:
    assert taken(cut_of(FILE, [cells(0, 7, 14)], 10), 7, 10).digest == "7-14"


def test_a_parquet_file_that_lies_in_a_window_is_known_by_its_version_and_else_by_its_rows() -> None:
    groups = ([10, 0, 9, 0, 0, 100], [10, 10, 19, 0, 0, 100])
    cut = cut_of(FILE, [parquet(*groups, cells=cells(0, 5, 20))])
    found = [taken(cut, *window) for window in ((0, 20), (0, 5), (-5, 5), (5, 20))]
    assert [one.digest for one in found] == ["", "0-5", "0-5", "5-20"]
    assert (cut.slice(Window(0, 7)), cut.slice(Window(40, 50))) == (UNTOLD, None)
    assert cut_of(FILE, [parquet(*groups)]).slice(Window(0, 5)) is UNTOLD
    assert taken(cut_of(FILE, [parquet(*groups)], read=True), 0, 5).digest == ""


def test_what_identifies_a_whole_parquet_file_may_be_given_and_its_digests_stay() -> None:
    cut = cut_of(FILE, [parquet([10, 0, 9, 0, 0, 100], cells=cells(0, 5, 10))], whole="w")
    assert [taken(cut, *window).digest for window in ((0, 10), (0, 5))] == ["w", "0-5"]


def test_a_parquet_window_without_rows_has_no_slice_though_a_row_group_reaches_over_it() -> None:
    cut = cut_of(
        FILE,
        [
            parquet(
                [2, 0, 19, 0, 0, 100],
                cells=cells(0, 1) | {"starts": [0, 19], "ends": [1, 20], "rows": [1, 1], "digests": ["a", "b"]},
            )
        ],
    )
    assert cut.slice(Window(5, 10)) is None
