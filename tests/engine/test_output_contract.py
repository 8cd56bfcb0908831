"""The contract of an output: a shard that breaks it fails by itself, with table, column and an example row."""

from __future__ import annotations

import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.engine.check import check_pipeline
from raypipe.pipeline import GroupByOutput, OutputColumn, RowsOutput, SqlOutput

HOUR_US = 3_600_000_000


def column(word, **promises):
    return OutputColumn(type=parse_datatype(word), **promises)


def rows(values, hours):
    return {"n": [None if one is None else str(one) for one in values], "_time": [hour * HOUR_US for hour in hours]}


def counted(columns, sql="SELECT n, count(*) AS c FROM rows GROUP BY ALL"):
    return SqlOutput(table="counted", sql=sql, columns=columns)


def test_a_shard_that_breaks_a_promise_fails_alone_with_table_column_and_an_example(make_pipeline, run):
    required = counted({"n": column("int64", required=True)})
    staged = run(make_pipeline({"n": "int64"}, outputs=[required]), rows([1, 2, None, 2], [0, 1, 1, 2]), hours=3)
    (failure,) = staged.failures
    assert failure.window.start_us == HOUR_US
    assert failure.code == "rule_broken"
    text = 'table counted: column n is required, but has no value in 1 of 2 rows of the shard; for example {"n": null, "c": 1}'
    assert failure.error == text
    assert [one.window.start_us for one in staged.results] == [0, 2 * HOUR_US]
    assert staged.tables["counted"]["n"].to_pylist() == [1, 2]


def test_a_value_may_stand_in_two_shards_but_not_twice_in_one_where_it_is_unique(make_pipeline, run):
    unique = RowsOutput(table="all_rows", columns={"n": column("int64", unique=True)})
    staged = run(make_pipeline({"n": "int64"}, outputs=[unique]), rows([1, 1, None, None, 3, 4, 3], [0, 1, 1, 1, 2, 2, 2]), hours=3)
    (failure,) = staged.failures
    assert failure.window.start_us == 2 * HOUR_US
    assert failure.error.startswith(
        "table all_rows: column n is unique, but repeats a value in 1 of 3 rows of the shard; for example"
    )
    assert '{"n": 3}' in failure.error


def test_another_type_fails_every_shard_and_check_finds_it_before(make_pipeline, run):
    total = "SELECT sum(n) AS total FROM rows"
    pipeline = make_pipeline({"n": "int64"}, outputs=[counted({"total": column("int64")}, total)])
    staged = run(pipeline, rows([1, 2], [0, 1]), hours=2)
    text = "column total is decimal(38,0), expected int64: cast it, as in CAST(total AS ...), or change the contract"
    assert [one.error for one in staged.failures] == [f"table counted: {text}"] * 2
    assert check_pipeline(pipeline, {})[0] == [f"outputs.counted.columns: {text}"]
    cast = counted({"total": column("int64")}, "SELECT CAST(sum(n) AS BIGINT) AS total FROM rows")
    assert not run(make_pipeline({"n": "int64"}, outputs=[cast]), rows([1, 2], [0, 1]), hours=2).failures


def test_a_column_that_is_not_there_is_named_with_those_that_are(make_pipeline, run):
    pipeline = make_pipeline({"n": "int64"}, outputs=[counted({"m": column("int64")})])
    text = "there is no column m; the table has n, c"
    assert run(pipeline, rows([1], [0])).failures[0].error == f"table counted: {text}"
    assert check_pipeline(pipeline, {})[0] == [f"outputs.counted.columns: {text}"]


@pytest.mark.parametrize("word", ["bool", "int16", "uint64", "float32", "decimal(9,3)", "string", "binary", "date", "time",
                                  "timestamp", "timestamptz", "list<int64>", "struct<a: int8, b: string>"])  # fmt: skip
def test_every_type_of_a_contract_is_known_again_in_both_kinds_of_union(make_pipeline, run, word):
    promised = {"v": column(word)}
    outputs = [RowsOutput(table="r", columns=promised), SqlOutput(table="s", sql="SELECT v FROM rows", columns=promised)]
    pipeline = make_pipeline({"v": word}, outputs=outputs)
    assert check_pipeline(pipeline, {})[0] == []
    assert not run(pipeline, {"v": [None, None], "_time": [0, 1]}).failures


def test_a_keyed_table_is_judged_as_it_would_be_of_the_shard_alone(make_pipeline, run):
    keyed = RowsOutput(table="newest", key=("k",), latest_by=("n",), columns={"k": column("string", unique=True),
                       "n": column("int64", required=True)})  # fmt: skip
    pipeline = make_pipeline({"k": "string", "n": "int64"}, outputs=[keyed])
    given = {"k": ["a", "a", "b"], "n": [None, "2", None], "_time": [0, 1, HOUR_US]}
    staged = run(pipeline, given, hours=2)
    assert [one.window.start_us for one in staged.failures] == [HOUR_US]  # the null of `a` is replaced by a newer row


def test_a_combined_table_is_judged_by_the_types_of_the_table_not_of_its_parts(make_pipeline, run):
    promised = {"k": column("string", unique=True, required=True), "mean": column("float64", required=True)}
    groups = GroupByOutput(table="groups", group_by={"k": "k"}, measures={"mean": "avg(n)"}, columns=promised)
    pipeline = make_pipeline({"k": "string", "n": "int64"}, outputs=[groups])
    assert check_pipeline(pipeline, {})[0] == []
    staged = run(pipeline, {"k": ["a", "a", "b"], "n": ["1", "2", None], "_time": [0, 1, HOUR_US]}, hours=2)
    assert [one.window.start_us for one in staged.failures] == [HOUR_US]
    assert "column mean is required" in staged.failures[0].error


def test_a_shard_without_rows_keeps_every_promise(make_pipeline, run):
    promised = {"n": column("int64", required=True, unique=True)}
    assert not run(make_pipeline({"n": "int64"}, outputs=[counted(promised)]), rows([1], [0]), hours=2).failures
