"""Python steps that fail or break their promise: the shard fails and says where, its neighbours are committed."""

from __future__ import annotations

import pytest

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}
CSV = "id,ts\n" + "".join(f"{number},2026-01-0{1 + number // 10}T00:00:00\n" for number in range(30))

STEPS = """
import polars as pl


def check(number):
    if number == 13:
        raise ValueError(f"{number} is no lucky number")
    return number


def raising(rows):
    return rows.with_columns(pl.col("id").map_elements(check, return_dtype=pl.Int64))


def panicking(rows):
    frame = rows.collect()
    if frame["id"].min() == 10:
        class Panic(BaseException):
            pass
        raise Panic("an engine gave up")
    return frame.lazy()


def dropping(rows):
    return rows.filter(pl.col("id") != 13)


def doubling(rows):
    return pl.concat([rows, rows.filter(pl.col("id") == 13)])


def reordering(rows):
    return rows.sort("id", descending=True)


def forgetting(rows):
    return rows.drop("_raypipe_row") if rows.collect()["id"].min() == 10 else rows


def answering(rows):
    return 42 if rows.collect()["id"].min() == 10 else rows
"""


@pytest.fixture
def steps(bench):
    bench.write("in.csv", CSV)
    path = bench.write("steps.py", STEPS)

    def configure(function: str, rows: str = "same") -> str:
        bench.config("in.csv", columns=COLUMNS, transform=[{"python": f"steps:{function}", "rows": rows}])
        return str(path)

    return configure


def line_of(text: str) -> int:
    return STEPS[: STEPS.index(text)].count("\n") + 1


@pytest.mark.fault(3)
def test_a_step_that_raises_on_one_row_fails_its_shard_with_file_and_line(bench, steps):
    path = steps("raising")
    ((code, error),) = bench.failed()
    assert code == "transform_failed"
    assert "python: steps:raising raised " in error
    assert "13 is no lucky number" in error
    assert f"{path}:{line_of('raise ValueError')}" in error
    assert bench.column("SELECT id FROM clean ORDER BY id") == [*range(10), *range(20, 30)]


@pytest.mark.fault(74)
def test_a_step_that_panics_fails_its_shard_and_leaves_the_run_alive(bench, steps):
    path = steps("panicking")
    ((code, error),) = bench.failed()
    assert (code, error) == (
        "transform_failed",
        f"python: steps:panicking raised Panic: an engine gave up ({path}:{line_of('raise Panic')})",
    )
    assert bench.column("SELECT id FROM clean ORDER BY id") == [*range(10), *range(20, 30)]


@pytest.mark.parametrize(
    ("function", "rows", "text"),
    [
        ("dropping", "same", "made 9 rows of 10, but promised rows: same"),
        ("doubling", "fewer", "made 11 rows of 10, some more than once, but promised rows: fewer"),
        ("forgetting", "fewer", "lost the column `_raypipe_row`, which tells where a row came from: keep it (rows: fewer)"),
        ("answering", "same", "returned int, expected a LazyFrame"),
    ],
)
def test_a_broken_promise_about_rows_fails_the_shard_alone(bench, steps, function, rows, text):
    steps(function, rows)
    assert bench.failed() == [("transform_failed", f"python: steps:{function} {text}")]
    assert bench.column("SELECT id FROM clean ORDER BY id") == [*range(10), *range(20, 30)]


def test_a_step_that_changes_the_order_of_rows_is_found_out(bench, steps):
    steps("reordering")
    assert {error for _, error in bench.failed()} == {
        "python: steps:reordering changed the order of the rows, or which they are, but promised rows: same"
    }


@pytest.mark.parametrize(
    ("function", "rows", "accounts"), [("dropping", "fewer", (30, 0, 29, 1)), ("doubling", "more", (30, 1, 31, 0))]
)
def test_rows_that_a_step_takes_or_adds_are_counted(bench, steps, function, rows, accounts):
    steps(function, rows)
    found = bench.done().closed.rows
    assert (found.read, found.expanded, found.loaded, found.filtered) == accounts
