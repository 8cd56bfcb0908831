"""check_pipeline: problems and warnings before a row is read, in the words of the run."""

from __future__ import annotations

import contextlib

import polars as pl
import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.engine.budget import Budget
from raypipe.engine.check import CHECK_MEMORY_BYTES, check_pipeline, require_fit
from raypipe.engine.outputs import Outputs
from raypipe.engine.transform import Transform
from raypipe.errors import ConfigurationError
from raypipe.pipeline import (
    Cast,
    Check,
    Deduplicate,
    Derive,
    Drop,
    Filter,
    Lookup,
    PythonStep,
    Quality,
    Rename,
    RowsOutput,
    Rule,
    SqlOutput,
)

COLUMNS = {"n": "int64", "s": "string"}
WORDS = {"n": "string", "s": "string"}


def test_a_good_pipeline_has_nothing_to_say(make_pipeline, tmp_path):
    (tmp_path / "ok.py").write_text("def step(rows):\n    return rows\n")
    (tmp_path / "ref.csv").write_text("k,v\n1,x\n")
    steps = [
        Filter(condition="n > 1", name="f"),
        Derive(columns={"d": "n + 1"}),
        Cast(columns={"d": parse_datatype("int32")}),
        Lookup(path=str(tmp_path / "ref.csv"), on={"n": "k"}, columns={"v": "v"}),
        PythonStep(function="ok:step"),
        Drop(columns=("d",)),
    ]
    quality = Quality(rules=(Rule(name="r", expect="n < 9"),), checks=(Check(table="t", expect="sum(c) > 0"),))
    outputs = [SqlOutput(table="t", sql="SELECT v, count(*) AS c FROM rows GROUP BY ALL"), RowsOutput(table="r")]
    assert check_pipeline(make_pipeline(COLUMNS, steps=steps, quality=quality, outputs=outputs), WORDS) == ([], [])


def test_mistakes_in_stages_that_keep_the_columns_are_all_found(make_pipeline):
    quality = Quality(
        rules=(Rule(name="r", expect="m < 9"),),
        checks=(Check(table="none", expect="true"), Check(table="out", expect="sum(q) > 0")),
    )
    steps = [
        Filter(condition="n >", name="f"),
        Filter(condition="x = 1", name="g"),
        Rename(columns={"n": "m"}),
        Drop(columns=("n",)),
    ]
    problems, _ = check_pipeline(make_pipeline(COLUMNS, steps=steps, quality=quality), WORDS)
    places = [one.split(":")[0] for one in problems]
    assert places == ["quality.rules.r", "transform[0].filter.f", "transform[1].filter.g", "transform[3].drop", "quality.checks"]


def test_a_check_is_bound_to_the_columns_of_its_table(make_pipeline):
    quality = Quality(checks=(Check(table="out", expect="sum(q) > 0"), Check(table="out", expect="max(n) < now()")))
    problems, _ = check_pipeline(make_pipeline(COLUMNS, quality=Quality(checks=quality.checks[:1])), WORDS)
    assert len(problems) == 1
    assert '"q"' in problems[0]
    problems, _ = check_pipeline(make_pipeline(COLUMNS, quality=quality), WORDS)
    assert "quality.checks: out: 'max(n) < now()': now is a clock" in problems[0]


def test_sql_is_bound_to_the_rows_and_warned_of_when_it_depends_on_their_order(make_pipeline):
    outputs = [SqlOutput(table="t", sql="SELECT missing FROM rows")]
    problems, _ = check_pipeline(make_pipeline(COLUMNS, outputs=outputs), WORDS)
    assert problems[0].startswith("outputs.t.sql: ")
    outputs = [SqlOutput(table="t", sql="SELECT first(n) AS f FROM rows")]
    problems, warnings = check_pipeline(make_pipeline(COLUMNS, outputs=outputs), WORDS)
    assert problems == []
    assert warnings[0].startswith("outputs.t.sql: first without ORDER BY")


def test_a_missing_column_is_a_problem_or_a_warning_as_drift_is(make_pipeline):
    assert check_pipeline(make_pipeline(COLUMNS), {"n": "string"})[0] == ["source.columns: column 's' is missing"]
    problems, warnings = check_pipeline(make_pipeline(COLUMNS, on_drift="evolve"), {"n": "string"})
    assert (problems, warnings) == ([], ["source.columns: column 's' is missing"])


def test_without_a_contract_the_sources_columns_are_what_steps_see(make_pipeline):
    pipeline = make_pipeline(format="parquet", steps=[Filter(condition="n > 1", name="f")])
    assert check_pipeline(pipeline, {"n": "int32"}) == ([], [])
    assert check_pipeline(pipeline, {"m": "int32"})[0][0].startswith("transform[0].filter.f")
    assert check_pipeline(pipeline, {}) == ([], [])  # no file yet: nothing can be said


def test_a_python_step_that_cannot_be_imported_or_breaks_on_no_rows_is_a_problem(make_pipeline, tmp_path):
    (tmp_path / "bad.py").write_text("def step(rows):\n    return rows.collect()['n'][0]\n")
    problems, _ = check_pipeline(make_pipeline(COLUMNS, steps=[PythonStep(function="bad:step")]), WORDS)
    assert "bad.py:2" in problems[0]
    problems, _ = check_pipeline(make_pipeline(COLUMNS, steps=[PythonStep(function="absent:step")]), WORDS)
    assert "cannot import 'absent'" in problems[0]


def test_the_run_refuses_with_the_words_of_the_check(make_pipeline, run):
    pipeline = make_pipeline(COLUMNS, steps=[Derive(columns={"x": "upper(n)"})])
    problems, _ = check_pipeline(pipeline, WORDS)
    failure = run(pipeline, pl.DataFrame({"n": ["1"], "s": ["a"]}).to_dict(as_series=False)).failures[0]
    assert failure.error == problems[0]


# ---- before a run -------------------------------------------------------------------------------------------


def require(pipeline, tmp_path):
    transform = Transform(pipeline)
    with contextlib.closing(Outputs(pipeline, budget=Budget.lean(CHECK_MEMORY_BYTES), spill_folder=tmp_path)) as outputs:
        require_fit(pipeline, transform, outputs, tmp_path)
    return transform


def test_what_no_row_could_pass_is_refused_in_the_words_of_the_check(make_pipeline, tmp_path):
    quality = Quality(rules=(Rule(name="r", expect="m < 9"),), checks=(Check(table="t", expect="sum(q) > 0"),))
    outputs = [SqlOutput(table="t", sql="SELECT s, count(*) AS c FROM rows GROUP BY ALL")]
    pipeline = make_pipeline(COLUMNS, steps=[Filter(condition="k = 1", name="f")], quality=quality, outputs=outputs)
    with pytest.raises(ConfigurationError) as refused:
        require(pipeline, tmp_path)
    assert list(refused.value.problems) == check_pipeline(pipeline, WORDS)[0]
    assert len(refused.value.problems) == 3


def test_what_is_right_stays_bound_for_the_tasks(make_pipeline, tmp_path):
    quality = Quality(rules=(Rule(name="r", expect="n < 9"),))
    pipeline = make_pipeline(COLUMNS, steps=[Derive(columns={"d": "n + 1"})], quality=quality, outputs=[RowsOutput(table="t")])
    _, rules, derive = require(pipeline, tmp_path).stages
    rows = pl.DataFrame(schema={"n": pl.Int64, "s": pl.String})
    for stage in (rules, derive):
        bound = dict(stage._bound.made)
        stage._bound.of(rows, stage.binder)
        assert stage._bound.made == bound != {}


@pytest.mark.parametrize("source", [{}, {"extra_columns": "keep"}], ids=["no contract", "columns beside it"])
def test_columns_that_may_come_are_not_refused(make_pipeline, tmp_path, source):
    steps = [Filter(condition="may_come = 1", name="f")]
    require(make_pipeline(COLUMNS if source else {}, steps=steps, outputs=[RowsOutput(table="t")], **source), tmp_path)


def test_functions_of_the_users_are_not_called_and_nothing_is_said_behind_them(make_pipeline, tmp_path):
    (tmp_path / "own.py").write_text("def step(rows):\n    raise SystemExit('called')\n")
    steps = [PythonStep(function="own:step"), Filter(condition="made_there = 1", name="f")]
    require(make_pipeline(COLUMNS, steps=steps, outputs=[SqlOutput(table="t", sql="SELECT made_there FROM rows")]), tmp_path)
    with pytest.raises(ConfigurationError, match="absent"):
        require(make_pipeline(COLUMNS, steps=[Filter(condition="absent = 1", name="g"), *steps]), tmp_path)


def test_a_column_that_was_meant_is_named_though_nothing_else_uses_it(make_pipeline, make_runner, memory_source):
    steps = [Deduplicate(key=("s",)), Derive(columns={"d": "nn + 1"})]
    pipeline = make_pipeline(COLUMNS, steps=steps, outputs=[SqlOutput(table="t", sql="SELECT sum(d) AS d FROM rows")])
    with pytest.raises(ConfigurationError, match=r'no column "nn", did you mean "n"\?; columns: n, s'):
        make_runner(pipeline, memory_source(pl.DataFrame())).require_fit()
