"""Python steps: import and promise."""

from __future__ import annotations

import sys
import types

import polars as pl
import pytest

from raypipe.core.accounts import Accounts
from raypipe.engine.python_step import load_function
from raypipe.errors import ConfigurationError
from raypipe.pipeline import PythonStep

MODULE = """
import polars as pl

def same(rows):
    return rows.with_columns(m=pl.col("n") * 2)

def eager(rows):
    return rows.collect().with_columns(m=pl.col("n") * 2)

def rebuilt(rows):
    return pl.LazyFrame({"n": rows.select("n").collect()["n"].to_list()}, schema={"n": pl.Int64})

def turned(rows):
    return rows.reverse()

def fewer(rows):
    return rows.filter(pl.col("n") > 1)

def more(rows):
    return pl.concat([rows, rows.filter(pl.col("n") > 1)])

def lost(rows):
    return rows.filter(pl.col("n") > 1).select("n")

def raises(rows):
    for value in rows.collect()["n"]:
        if value == 2:
            raise ValueError("no twos")
    return rows

def nothing(rows):
    return None

def reserved(rows):
    return rows.with_columns(_time=1)
"""


@pytest.fixture
def out(make_pipeline, run, tmp_path):
    (tmp_path / "steps_module.py").write_text(MODULE)

    def run_step(function, rows="same", times=(1, 2, 3), hours=1):
        pipeline = make_pipeline({"n": "int64"}, steps=[PythonStep(function=f"steps_module:{function}", rows=rows)])
        return run(pipeline, {"n": ["1", "2", "3"], "_time": list(times)}, hours=hours)

    return run_step


@pytest.mark.parametrize("function", ["same", "eager"])
def test_a_function_adds_columns(out, function):
    assert out(function).tables["out"]["m"].to_pylist() == [2, 4, 6]


def test_rows_built_anew_are_taken_by_their_place(out):
    assert out("rebuilt").tables["out"]["n"].to_pylist() == [1, 2, 3]


def test_fewer_counts_what_was_dropped_in_each_shard(out):
    staged = out("fewer", "fewer", times=(1, 3_600_000_000, 2), hours=2)
    assert [one.accounts for one in staged.results] == [Accounts(read=2, loaded=1, filtered=1), Accounts(read=1, loaded=1)]
    assert staged.results[0].filtered == {"steps_module:fewer": 1}


def test_more_counts_what_was_added(out):
    staged = out("more", "more")
    assert staged.results[0].accounts == Accounts(read=3, expanded=2, loaded=5)


@pytest.mark.parametrize(
    ("function", "promise", "expected"),
    [
        ("fewer", "same", "made 2 rows of 3, but promised rows: same"),
        ("more", "same", "made 5 rows of 3, but promised rows: same"),
        ("turned", "same", "changed the order of the rows"),
        ("more", "fewer", "made 5 rows of 3, some more than once, but promised rows: fewer"),
        ("fewer", "more", "made 2 rows of 3, but promised rows: more"),
        ("lost", "fewer", "lost the column `_raypipe_row`"),
        ("nothing", "same", "returned NoneType, expected a LazyFrame"),
        ("reserved", "same", "returned a column '_time', a name that raypipe keeps for itself"),
    ],
)
def test_a_broken_promise_fails_the_shard_with_the_counts(out, function, promise, expected):
    failure = out(function, promise).failures[0]
    assert failure.code == "transform_failed"
    assert failure.error.startswith(f"python: steps_module:{function} {expected}")


def test_an_error_fails_its_shard_alone_with_file_and_line(out, tmp_path):
    staged = out("raises", times=(1, 3_600_000_000, 7_200_000_000), hours=3)
    assert [one.window.start_us // 3_600_000_000 for one in staged.results] == [0, 2]
    line = MODULE.splitlines().index('            raise ValueError("no twos")') + 1
    assert staged.failures[0].error == f"python: steps_module:raises raised ValueError: no twos ({tmp_path}/steps_module.py:{line})"


def test_a_panic_of_the_engine_fails_the_shard_not_the_process(make_pipeline, run, tmp_path):
    (tmp_path / "panics.py").write_text("import polars\ndef step(rows):\n    raise polars.exceptions.PanicException('boom')\n")
    failure = run(make_pipeline({"n": "int64"}, steps=[PythonStep(function="panics:step")]), {"n": ["1"]}).failures[0]
    assert "PanicException: boom" in failure.error


def test_an_interrupt_goes_through(make_pipeline, run, tmp_path):
    (tmp_path / "stops.py").write_text("def step(rows):\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        run(make_pipeline({"n": "int64"}, steps=[PythonStep(function="stops:step")]), {"n": ["1"]})


# ---- import -----------------------------------------------------------------------------------------------


def test_two_folders_may_have_modules_of_one_name(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "steps.py").write_text("import near\ndef tell(rows):\n    return near.NAME\n")
        (tmp_path / name / "near.py").write_text(f"NAME = {name!r}\n")
    first, second = load_function("steps:tell", tmp_path / "one"), load_function("steps:tell", tmp_path / "two")
    assert (first(pl.LazyFrame()), second(pl.LazyFrame())) == ("one", "two")
    assert "steps" not in sys.modules
    assert "near" not in sys.modules


def test_a_module_of_the_folder_hides_one_of_its_name_and_gives_the_name_back(tmp_path, monkeypatch):
    elsewhere = types.ModuleType("near")
    monkeypatch.setitem(sys.modules, "near", elsewhere)
    (tmp_path / "steps.py").write_text("import near\ndef tell(rows):\n    return near.NAME\n")
    (tmp_path / "near.py").write_text("NAME = 'mine'\n")
    assert load_function("steps:tell", tmp_path)(pl.LazyFrame()) == "mine"
    assert sys.modules["near"] is elsewhere


def test_a_module_is_read_as_it_stands_now(tmp_path):
    path = tmp_path / "steps.py"
    for answer in ("1", "2"):  # same size, same second: byte code by time and size would be stale
        path.write_text(f"def tell(rows):\n    return {answer}\n")
        assert load_function("steps:tell", tmp_path)(pl.LazyFrame()) == int(answer)
    assert not (tmp_path / "__pycache__").exists()


def test_packages_and_installed_modules_are_found(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "inner.py").write_text("from .other import answer\ndef tell(rows):\n    return answer\n")
    (tmp_path / "pack" / "other.py").write_text("answer = 42\n")
    assert load_function("pack.inner:tell", tmp_path)(pl.LazyFrame()) == 42
    assert load_function("polars:len", tmp_path) is pl.len


@pytest.mark.parametrize(
    ("source", "function", "expected"),
    [
        ("def other(rows): ...", "steps:tell", "has no function 'tell'; it has: other"),
        ("x = 1 / 0", "steps:tell", "ZeroDivisionError: division by zero"),
        ("def", "steps:tell", "SyntaxError"),
        ("", "absent:tell", "cannot import 'absent'"),
    ],
)
def test_what_cannot_be_imported_is_a_mistake_of_the_configuration(tmp_path, source, function, expected):
    (tmp_path / "steps.py").write_text(source)
    with pytest.raises(ConfigurationError, match=expected):
        load_function(function, tmp_path)
