"""Definitions: what changes a fingerprint and what does not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from raypipe.core.calendar import parse_width
from raypipe.engine.definition import definitions
from raypipe.errors import ConfigurationError
from raypipe.pipeline import (
    Check,
    Derive,
    DuckDBDestination,
    FillNull,
    Filter,
    Lookup,
    PythonStep,
    Quality,
    Ready,
    Rename,
    RowsOutput,
    RunOptions,
    SqlOutput,
)

SUMS = SqlOutput(table="sums", sql="SELECT count(*) AS n FROM rows")
STEPS = "import near\n\ndef enrich(rows):\n    'Explain.'\n    # a comment\n    return near.go(rows)\n"


@pytest.fixture
def pipeline(make_pipeline, tmp_path):
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "near.py").write_text("def go(rows):\n    return rows\n")
    (tmp_path / "ref.csv").write_text("a,b\n1,2\n")
    lookup = Lookup(path=str(tmp_path / "ref.csv"), on={"n": "a"}, columns={"b": "b"})
    steps = [Filter(condition="n > 1", name="f"), lookup, PythonStep(function="steps:enrich")]
    return make_pipeline({"n": "int64"}, steps=steps, outputs=[RowsOutput(table="out"), SUMS])


def changed(pipeline, other):
    before, after = definitions(pipeline), definitions(other)
    return {table for table in before if before[table].fingerprint != after[table].fingerprint}


def parts(pipeline):
    return set(definitions(pipeline)["out"].parts)


def test_the_parts_say_what_a_definition_is_made_of(pipeline):
    assert parts(pipeline) == {"source", "time", "quality", "transform", "output", "lookup:ref.csv", "python:steps:enrich"}
    assert definitions(pipeline)["out"].version == 0


def replaced(pipeline, **changes):
    return dataclasses.replace(pipeline, **changes)


def test_what_does_not_change_a_table_does_not_change_its_fingerprint(pipeline):
    time = dataclasses.replace(pipeline.time, shard=parse_width("1d"), end_us=10**15, delay_us=5, lateness_us=7)
    source = dataclasses.replace(pipeline.source, ready=Ready(files=3))
    other = replaced(
        pipeline,
        description="words",
        time=time,
        source=source,
        destination=DuckDBDestination(path="elsewhere"),
        run=RunOptions(memory_bytes=1),
    )
    assert changed(pipeline, other) == set()


def test_what_changes_the_rows_changes_every_output(pipeline):
    both = {"out", "sums"}
    assert changed(pipeline, replaced(pipeline, time=dataclasses.replace(pipeline.time, zone="Europe/Madrid"))) == both
    assert changed(pipeline, replaced(pipeline, time=dataclasses.replace(pipeline.time, start_us=1))) == both
    assert changed(pipeline, replaced(pipeline, source=dataclasses.replace(pipeline.source, on_drift="evolve"))) == both
    assert changed(pipeline, replaced(pipeline, transform=pipeline.transform[1:])) == both
    assert changed(pipeline, replaced(pipeline, transform=(*pipeline.transform, Derive(columns={"x": "1", "y": "2"})))) == both
    swapped = [replaced(pipeline, transform=(Derive(columns=one),)) for one in ({"x": "1", "y": "2"}, {"y": "2", "x": "1"})]
    assert changed(*swapped) == both


def test_an_output_and_its_checks_change_their_own_table_alone(pipeline):
    other_sql = replaced(pipeline, outputs=(pipeline.outputs[0], SqlOutput(table="sums", sql="SELECT 1 AS n FROM rows")))
    assert changed(pipeline, other_sql) == {"sums"}
    assert changed(pipeline, replaced(pipeline, quality=Quality(checks=(Check(table="out", expect="true"),)))) == {"out"}


def test_code_counts_with_all_that_it_imports_but_not_its_comments(pipeline, tmp_path):
    before = definitions(pipeline)["out"].parts["python:steps:enrich"]

    def now():
        return definitions(pipeline)["out"].parts["python:steps:enrich"]

    (tmp_path / "steps.py").write_text(
        '"""Module."""\nimport near\n\n\ndef enrich(rows):\n    "Other words."\n    return near.go(rows)\n'
    )
    assert now() == before
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert now() == before
    (tmp_path / "near.py").write_text("def go(rows):\n    return rows.head(1)\n")
    assert now() != before


def test_relative_imports_of_a_package_count(make_pipeline, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "inner.py").write_text(
        "from .other import go as run\nfrom . import third\n\ndef go(rows):\n    return run(rows, third.x)\n"
    )
    pipeline = make_pipeline({"n": "int64"}, steps=[PythonStep(function="pack.inner:go")])
    seen = []
    for name in ("other", "third"):
        for text in ("x = go = 1\n", "x = go = 2\n"):
            (tmp_path / "pack" / f"{name}.py").write_text(text)
            seen.append(definitions(pipeline)["out"].fingerprint)
    assert len(set(seen)) == 4


STEP = """
import near
from near import LIMIT as least

def enrich(rows):
    return near.go(rows, least)

def unused(rows):
    return rows
"""
NEAR = """
LIMIT = 5
OTHER = 6

def go(rows, least):
    return _inner(rows) if TABLE["k"] else getattr(rows, "named")(least)

def _inner(rows):
    return rows

def named(rows):
    return rows

def unused(rows):
    return rows

TABLE = {"k": 1}
"""


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("near", "LIMIT = 5", "LIMIT = 7", True),
        ("near", '{"k": 1}', '{"k": 2}', True),
        ("near", "def _inner(rows):\n    return rows", "def _inner(rows):\n    return rows.head(1)", True),
        ("near", "def named(rows):\n    return rows", "def named(rows):\n    return rows.head(1)", True),
        ("near", "TABLE = ", "print(1)\nTABLE = ", True),
        ("near", "OTHER = 6", "OTHER = 7", False),
        ("near", "def unused(rows):\n    return rows", "def unused(rows):\n    return rows.head(1)", False),
        ("near", "return rows if", "return  rows if", False),
        ("steps", "def unused(rows):\n    return rows", "def unused(rows):\n    return rows.head(1)", False),
        ("steps", "import LIMIT as", "import OTHER as", True),
        ("steps", "near.go(rows, least)", "near.go(rows,\n                   least)  # five", False),
    ],
)
def test_code_counts_as_far_as_the_step_calls_it(pipeline, tmp_path, module, old, new, counts):
    texts = {"steps": STEP, "near": NEAR}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    before = definitions(pipeline)["out"].fingerprint
    (tmp_path / f"{module}.py").write_text(texts[module].replace(old, new))
    assert (definitions(pipeline)["out"].fingerprint != before) is counts


@pytest.mark.parametrize(
    ("sql", "same"),
    [
        ("SELECT\n  count( * )   AS n -- how many\nFROM rows", True),
        ("/* a /* nested */ comment */ SELECT count(*) AS n FROM rows", True),
        ("SELECT count(*) AS N FROM rows", False),
        ("SELECT count(*) AS n FROM rows WHERE s = 'a  b'", False),
    ],
)
def test_the_formatting_of_sql_does_not_count(pipeline, sql, same):
    other = replaced(pipeline, outputs=(pipeline.outputs[0], SqlOutput(table="sums", sql=sql)))
    assert changed(pipeline, other) == (set() if same else {"sums"})
    spaced = replaced(pipeline, transform=(Filter(condition="n  >\n1", name="f"), *pipeline.transform[1:]))
    assert changed(pipeline, spaced) == set()


def test_names_and_constants_are_no_sql(pipeline):
    def with_step(step):
        return replaced(pipeline, transform=(step,))

    both = {"out", "sums"}
    assert changed(with_step(Rename(columns={"n": "a  b"})), with_step(Rename(columns={"n": "a b"}))) == both
    assert changed(with_step(FillNull(columns={"n": "a--b"})), with_step(FillNull(columns={"n": "a"}))) == both


def test_a_reference_file_counts_by_its_content(pipeline, tmp_path):
    before = definitions(pipeline)
    (tmp_path / "ref.csv").write_text("a,b\n1,3\n")
    assert definitions(pipeline)["out"].fingerprint != before["out"].fingerprint


def test_a_project_that_moves_stays_the_same(pipeline, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("steps.py", "near.py", "ref.csv"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    first, lookup, step = pipeline.transform
    lookup = dataclasses.replace(lookup, path=str(moved / "ref.csv"))
    assert changed(pipeline, replaced(pipeline, folder=moved, transform=(first, lookup, step))) == set()


def test_a_file_that_cannot_be_read_is_named(pipeline, tmp_path):
    (tmp_path / "ref.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"ref.csv cannot be read: No such file"):
        definitions(pipeline)


def test_fingerprints_need_no_engine():
    code = "import sys, raypipe.engine.definition; print(sorted({'polars', 'duckdb', 'pyarrow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
