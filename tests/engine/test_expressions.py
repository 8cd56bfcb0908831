from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from raypipe.engine.expressions import compile_conditions, compile_expressions
from raypipe.errors import ConfigurationError, TransformFailed

FRAME = pl.DataFrame(
    {
        "n": [2**63 - 1, 1, None],
        "m": [-1, 0, 2],
        "u": pl.Series([2**64 - 1, 1, None], dtype=pl.UInt64),
        "i": pl.Series([2**31 - 1, 1, 2], dtype=pl.Int32),
        "f": [1.5, float("nan"), None],
        "d": pl.Series(["1.50", "2.25", None]).str.to_decimal(scale=2),
        "s": ["a", "12", None],
        "b": [True, False, None],
        "t": [datetime(2013, 1, 1, 5, 7), None, datetime(2014, 1, 1)],
        "day": [date(2013, 1, 1)] * 3,
        "list": [[1, 2], [], None],
        "struct": [{"a": 1}, None, {"a": 2}],
        "order": [1, 2, 3],
    }
)


def values(text: str, frame: pl.DataFrame = FRAME) -> list[object]:
    compiled = compile_expressions({"x": text}, FRAME.schema, where="derive")
    result = compiled.evaluate(frame)
    assert result.schema == compiled.schema
    return result["x"].to_list()


def problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        compile_expressions({"x": text}, FRAME.schema, where="derive")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m + 1", [0, 1, 3]),
        ("m*2-1", [-3, -1, 3]),
        ("- m", [1, 0, -2]),
        ("m // 2", [0, 0, 1]),
        ("m % 0", [None, None, None]),
        ("m / 2", [-0.5, 0.0, 1.0]),
        ("60 * 60 * 24 * 1000000", [86_400_000_000] * 3),
        ("d * 2", [Decimal("3.00"), Decimal("4.50"), None]),
        ("s || '-' || m", ["a--1", "12-0", None]),
        ("CASE WHEN m > 0 THEN 'up' WHEN m = 0 THEN 'flat' END", [None, "flat", "up"]),
        ("CASE m WHEN 0 THEN 'zero' ELSE 'other' END", ["other", "zero", "other"]),
        ("coalesce(s, 'none')", ["a", "12", "none"]),
        ("nullif(m, 0)", [-1, None, 2]),
        ("if(b, m, 7)", [-1, 7, 7]),
        ("abs(m)", [1, 0, 2]),
        ("mod(m, 2)", [-1, 0, 0]),
        ("TRY_CAST(s AS INT)", [None, 12, None]),
        ("m::double", [-1.0, 0.0, 2.0]),
        ("date_trunc('hour', t)", [datetime(2013, 1, 1, 5), None, datetime(2014, 1, 1)]),
        ("EXTRACT(hour FROM t)", [5, None, 0]),
        ("t + INTERVAL '1 day'", [datetime(2013, 1, 2, 5, 7), None, datetime(2014, 1, 2)]),
        ("t > '2013-06-01'", [False, None, True]),
        ("t BETWEEN '2013-01-01' AND TIMESTAMP '2013-12-31 00:00:00'", [True, None, False]),
        ("s IN ('a', 'b')", [True, False, None]),
        ("m NOT IN (0, n)", [True, False, None]),
        ("s LIKE 'a%' OR s ~ '^1'", [True, True, None]),
        ("NOT b IS NULL", [True, True, False]),
        ("n IS NOT DISTINCT FROM 1", [False, True, False]),
        ("SUBSTRING(s FROM 1 FOR 1)", ["a", "1", None]),
        ("TRIM(BOTH 'a' FROM s)", ["", "12", None]),
        ("POSITION('2' IN s)", [0, 2, 0]),
        ("list[1]", [1, None, None]),
        ("struct.a + 1", [2, None, 3]),
        ('"order" + `m`', [0, 2, 5]),
        ("m /* a ; comment */ + 1 -- and; another", [0, 1, 3]),
        ("'it''s; SELECT -- no comment'", ["it's; SELECT -- no comment"] * 3),
        ("f > 2", [False, True, None]),
    ],
)
def test_an_expression_gives_what_its_sql_says(text: str, expected: list[object]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("sum(m)", 1, "looks at many rows"),
        ("count(*)", 1, "looks at many rows"),
        ("row_number() OVER (ORDER BY n)", 1, "looks at many rows"),
        ("upper(s) OVER (PARTITION BY m)", 10, "OVER is not part"),
        ("(SELECT max(n) FROM self)", 2, "SELECT is not part"),
        ("m IN (SELECT m FROM self)", 7, "SELECT is not part"),
        ("EXISTS (SELECT 1)", 1, "EXISTS is not part"),
        ("now()", 1, "is a clock"),
        ("t < current_timestamp", 5, "is a clock"),
        ("today()", 1, "is a clock"),
        ("random()", 1, "is random"),
        ("uuid()", 1, "is random"),
        ("uper(s)", 1, 'did you mean "upper"'),
        ("read_csv('/etc/passwd')", 1, "unknown function"),
        ("m; DROP TABLE x", 2, "semicolon"),
        ("m = $1", 5, "placeholder"),
        ("m = ?", 5, "placeholder"),
        ("_time + 1", 1, "raypipe's own column"),
        ("_shard", 1, "raypipe's own column"),
        ("oder", 1, 'did you mean "order"'),
        ("order", 1, "stands in double quotes"),
        ("m + ", 5, "the expression ends"),
        ("(m + 1", 7, 'expected ")"'),
        ("m n", 3, "expected an operator or the end"),
        ("'abc", 1, "never closed"),
        ("m /* abc", 3, "never closed"),
        ("s > 1", 3, "compares string with int32"),
        ("n = '5'", 3, "write the value without quotes"),
        ("t > 5", 3, "compares timestamp with int32"),
        ("t = 'abc'", 3, "cannot compare"),
        ("d = '1.5'", 3, "compares decimal"),
        ("b = 1", 3, "compares bool with int32"),
        ("s + 1", 3, "CAST the text"),
        ("b + b", 3, "arithmetic needs numbers"),
        ("day + 1", 5, "INTERVAL"),
        ("NOT n", 5, "expected a condition"),
        ("b AND m", 7, "expected a condition"),
        ("CASE WHEN m THEN 1 END", 11, "expected a condition"),
        ("CASE WHEN b THEN 1 ELSE 'x' END", 25, "mixes int32 and string"),
        ("coalesce(t, '2013-01-01')", 13, "mixes timestamp and string"),
        ("CAST(s AS TIMESTAMP)", 8, "guesses the format"),
        ("TRY_CAST(s AS DATE)", 12, "guesses the format"),
        ("date(s)", 1, "needs its format"),
        ("CAST(m AS int8)", 11, "ambiguous"),
        ("CAST(m AS foo)", 11, "unknown type"),
        ("pow(m, 2)", 1, "may overflow"),
        ("n * n * n", 7, "127 bits"),
        ("n + u", 3, "CAST the result AS BIGINT"),
        ("NULL", 1, "has no type"),
        ("upper(m)", 1, "expected `String`"),
        ("s LIKE s", 8, "must be a text"),
        ("EXTRACT(hours FROM t)", 9, 'did you mean "hour"'),
    ],
)
def test_what_is_not_a_row_expression_is_refused_with_its_place(text: str, place: int, reason: str) -> None:
    said = problem(text)
    assert said.startswith(f"derive.x: {text!r}, character {place}: ")
    assert reason in said


def test_all_bad_expressions_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_expressions({"a": "nope", "b": "m + 1", "c": "now()"}, FRAME.schema, where="transform[2].derive")
    assert [one.split(":")[0] for one in caught.value.problems] == ["transform[2].derive.a", "transform[2].derive.c"]


def test_a_condition_must_be_boolean() -> None:
    with pytest.raises(ConfigurationError, match="expected a condition"):
        compile_conditions({"rule": "m + 1"}, FRAME.schema, where="quality.rules")
    holds = compile_conditions({"rule": "m > 0"}, FRAME.schema, where="quality.rules").evaluate(FRAME)
    assert holds.to_dict(as_series=False) == {"rule": [False, False, True]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("n + 1", "[9223372036854775808] does not fit int64 (1 of 3 rows)"),
        ("i + 1", "[2147483648] does not fit int32"),
        ("u * 2", "[36893488147419103230] does not fit uint64"),
        ("-u", "[-18446744073709551615, -1] does not fit uint64 (2 of 3 rows)"),
        ("CAST(n AS INT)", "[9223372036854775807] does not fit int32"),
        ("CAST(s AS INT)", 'cannot convert ["a"] from str to i32 (1 of 3 rows); TRY_CAST'),
        ("strptime(s, '%Y-%m-%d')", "cannot read"),
        ("d / m", "division by zero"),
        ("d * 9999999999999999999999999999999999999", "overflow in decimal multiplication"),
    ],
)
def test_a_value_that_cannot_be_computed_fails_with_its_expression_and_the_value(text: str, shown: str) -> None:
    compiled = compile_expressions({"fine": "m + 1", "x": text}, FRAME.schema, where="derive")
    with pytest.raises(TransformFailed) as caught:
        compiled.evaluate(FRAME)
    assert f"derive.x: {text!r}" in str(caught.value)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n + 1 > 5", [True, False, None]),
        ("n * n > 9223372036854775807", [True, False, None]),
        ("n + n - n", [2**63 - 1, 1, None]),
        ("n + 1 IN (2)", [False, True, None]),
        ("CASE WHEN n < 100 THEN n + 1 ELSE 0 END", [0, 2, 0]),
        ("coalesce(nullif(n, 1) - 1, 5)", [2**63 - 2, 5, 5]),
        ("i + 1 > 2", [True, False, True]),
    ],
)
def test_only_the_result_of_integer_arithmetic_has_to_fit(text: str, expected: list[object]) -> None:
    assert values(text) == expected


def test_results_keep_height_and_order_also_for_constants_and_no_rows() -> None:
    compiled = compile_expressions({"one": "1", "again": "m", "text": "'x'"}, FRAME.schema, where="derive")
    assert compiled.evaluate(FRAME).rows() == [(1, -1, "x"), (1, 0, "x"), (1, 2, "x")]
    assert compiled.evaluate(FRAME.clear()).height == 0
    assert compile_expressions({}, FRAME.schema, where="derive").evaluate(FRAME).width == 0


def test_a_frame_of_other_types_than_were_checked_is_refused() -> None:
    compiled = compile_expressions({"x": "i + 1"}, FRAME.schema, where="derive")
    with pytest.raises(TransformFailed, match='column "i" was checked as int32, got int64'):
        compiled.evaluate(FRAME.with_columns(pl.col("i").cast(pl.Int64)))


POOL = {
    "a": "m * 3 - order_",
    "b": "CASE WHEN m > 0 THEN s || 'x' ELSE coalesce(s, 'none') END",
    "c": "m IN (1, order_) OR s LIKE 'a%'",
    "d": "TRY_CAST(s AS INT)",
    "e": "date_trunc('day', t)",
    "f": "f * 2.5 + m / 3",
    "g": "round(f, 1) > 0.5",
    "h": "m // order_",
    "i": "regexp_replace(upper(s), 'A', 'b')",
    "j": "t > '2013-06-01'",
    "k": "1",
    "l": "greatest(m, order_, 0)",
}
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-5, 5),
        st.none() | st.integers(-2, 2),
        st.none() | st.sampled_from(["a", "12", "", "abc"]),
        st.none() | st.floats(),
        st.none() | st.datetimes(datetime(2012, 1, 1), datetime(2015, 1, 1)),
    ),
    max_size=12,
)
POOL_SCHEMA = pl.Schema({"m": pl.Int64, "order_": pl.Int64, "s": pl.String, "f": pl.Float64, "t": pl.Datetime("us")})
COMPILED_POOL = compile_expressions(POOL, POOL_SCHEMA, where="derive")


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_a_rows_result_does_not_depend_on_its_batch(rows: list[tuple[object, ...]], cuts: list[int]) -> None:
    frame = pl.DataFrame(rows, schema=POOL_SCHEMA, orient="row")
    whole = COMPILED_POOL.evaluate(frame)
    places = [0, *sorted(min(cut, frame.height) for cut in cuts), frame.height]
    parts = [COMPILED_POOL.evaluate(frame[start:end]) for start, end in pairwise(places)]
    assert_frame_equal(pl.concat(parts), whole)


WIDTHS = {"i8": pl.Int8, "u8": pl.UInt8, "i32": pl.Int32, "i64": pl.Int64}
LIMITS = {pl.Int8: (-(2**7), 2**7 - 1), pl.UInt8: (0, 2**8 - 1), pl.Int16: (-(2**15), 2**15 - 1), pl.UInt16: (0, 2**16 - 1),
          pl.Int32: (-(2**31), 2**31 - 1), pl.UInt32: (0, 2**32 - 1), pl.Int64: (-(2**63), 2**63 - 1)}  # fmt: skip


def near_limits(kind: type[pl.DataType]) -> st.SearchStrategy[int]:
    low, high = LIMITS[kind]
    return st.sampled_from([low, low + 1, 0, 1, high - 1, high]) | st.integers(low, high)


LEAVES = st.sampled_from(sorted(WIDTHS)) | st.integers(0, 300).map(str)
SUMS = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})") | inner.map(lambda p: f"(-{p})")
    ),
    max_leaves=5,
)
ARITHMETIC = SUMS | st.tuples(SUMS, SUMS).map(lambda pair: f"{pair[0]} * {pair[1]}") | SUMS.map(lambda one: f"abs({one})")


@settings(max_examples=150, deadline=None)
@given(text=ARITHMETIC, row=st.fixed_dictionaries({name: near_limits(kind) for name, kind in WIDTHS.items()}))
def test_integer_arithmetic_is_that_of_unbounded_integers_or_an_error(text: str, row: dict[str, int]) -> None:
    frame = pl.DataFrame([row], schema=WIDTHS)
    try:
        compiled = compile_expressions({"x": text, "y": f"{text} > 100"}, frame.schema, where="derive")
    except ConfigurationError:
        event("might not fit 127 bits")
        assert "*" in text
        return
    expected = eval(text, {"abs": abs}, dict(row))
    low, high = LIMITS[type(compiled.schema["x"])]
    if low <= expected <= high:
        assert compiled.evaluate(frame).rows() == [(expected, expected > 100)]
    else:
        with pytest.raises(TransformFailed, match="integer overflow"):
            compiled.evaluate(frame)
        only = compile_expressions({"y": f"{text} > 100"}, frame.schema, where="derive")
        assert only.evaluate(frame)["y"].to_list() == [expected > 100]
