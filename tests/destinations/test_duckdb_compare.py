"""Two files hold the same table when their rows are the same multiset: floats within a tolerance, `_shard` aside."""

from __future__ import annotations

import duckdb
import pytest

from raypipe.destinations.duckdb_compare import FLOAT_TOLERANCE, table_difference

pytestmark = pytest.mark.slow  # a real file is opened several times a test


@pytest.fixture
def compare(tmp_path):
    def made(left: str | None, right: str | None):
        paths = []
        for name, sql in (("a", left), ("b", right)):
            paths.append(str(tmp_path / f"{name}'s.duckdb"))
            with duckdb.connect(paths[-1]) as connection:
                connection.execute("CREATE OR REPLACE TABLE other AS SELECT 1 AS n")
                connection.execute("DROP TABLE IF EXISTS t")
                if sql:
                    connection.execute(f"CREATE TABLE t AS {sql}")
        return table_difference(*paths, "t")

    return made


def shard(day: int) -> str:
    return f"TIMESTAMP '2026-01-0{day}' AS _shard"


def test_the_order_of_rows_and_the_shards_that_wrote_them_do_not_matter(compare):
    left = f"SELECT n, NULL AS nothing, {shard(1)} FROM range(100) AS r(n)"
    right = f"SELECT n, NULL AS nothing, {shard(2)} FROM range(100) AS r(n) ORDER BY hash(n)"
    assert compare(left, right) is None


def test_equal_rows_count(compare):
    found = compare(f"SELECT 7 AS n, {shard(1)} FROM range(3)", f"SELECT 7 AS n, {shard(1)} FROM range(2)")
    assert (found.left, found.right) == ({"n": 7}, None)
    assert found.left_shard_us == 1_767_225_600_000_000


@pytest.mark.parametrize("value", [1.0, 123456.789, 1e300, -5e-3])
def test_floats_may_differ_by_the_tolerance_and_by_no_more(compare, value):
    near, far = value + FLOAT_TOLERANCE * max(1, abs(value)) / 2, value + FLOAT_TOLERANCE * max(1, abs(value)) * 4
    assert compare(f"SELECT 'x' AS k, {value!r}::DOUBLE AS f", f"SELECT 'x' AS k, {near!r}::DOUBLE AS f") is None
    assert compare(f"SELECT 'x' AS k, {value!r}::DOUBLE AS f", f"SELECT 'x' AS k, {far!r}::DOUBLE AS f") is not None


@pytest.mark.parametrize("value", ["'NaN'", "'inf'", "'-inf'", "NULL"])
def test_floats_that_are_no_numbers_are_equal_to_themselves_alone(compare, value):
    assert compare(f"SELECT {value}::DOUBLE AS f", f"SELECT {value}::DOUBLE AS f") is None
    for other in ("1.0", "'NaN'", "'inf'", "'-inf'", "NULL"):
        if other != value:
            assert compare(f"SELECT {value}::DOUBLE AS f", f"SELECT {other}::DOUBLE AS f") is not None


def test_the_noise_of_sums_does_not_pair_rows_that_share_all_their_other_values_otherwise(compare):
    left = "SELECT * FROM (VALUES (1.0, 5.0), (1.0 + 1e-13, 2.0)) AS v(f, g)"
    right = "SELECT * FROM (VALUES (1.0 + 1e-13, 5.0), (1.0, 2.0)) AS v(f, g)"
    cast = "SELECT f::DOUBLE AS f, g::DOUBLE AS g FROM"
    assert compare(f"{cast} ({left})", f"{cast} ({right})") is None


def test_whole_numbers_decimals_and_times_have_no_tolerance(compare):
    for one, other in (
        ("9007199254740993", "9007199254740992"),
        ("1.000000001", "1.000000002"),
        ("DATE '2026-01-01'", "DATE '2026-01-02'"),
    ):
        assert compare(f"SELECT {one} AS v", f"SELECT {other} AS v") is not None


def test_the_earliest_row_that_differs_is_shown_beside_the_one_most_like_it(compare):
    left = f"SELECT * FROM (VALUES (1, 'a', 10, {shard(3)[:-10]}), (2, 'b', 20, {shard(2)[:-10]})) AS v(k, name, total, _shard)"
    right = f"SELECT * FROM (VALUES (1, 'a', 11, {shard(3)[:-10]}), (2, 'b', 21, {shard(2)[:-10]})) AS v(k, name, total, _shard)"
    found = compare(left, right)
    assert found.left == {"k": 2, "name": "b", "total": 20}
    assert found.right == {"k": 2, "name": "b", "total": 21}


def test_other_columns_are_told_before_any_row(compare):
    assert compare("SELECT 1 AS n", "SELECT 1::BIGINT AS n").columns == "n: INTEGER and BIGINT"
    assert compare("SELECT 1 AS n, 2 AS m", "SELECT 1 AS n").columns == "m: INTEGER and missing"


def test_a_table_that_no_shard_wrote_is_one_without_rows(compare):
    assert compare(None, None) is None
    assert compare("SELECT 1 AS n WHERE false", None) is None
    assert compare(None, "SELECT 1 AS n").right == {"n": 1}


def test_floats_inside_of_lists_and_structs_are_compared_to_seven_digits(compare):
    assert compare("SELECT [0.1::DOUBLE + 0.2] AS l", "SELECT [0.3::DOUBLE] AS l") is None
    assert compare("SELECT {'a': 0.3001::DOUBLE} AS s", "SELECT {'a': 0.3::DOUBLE} AS s") is not None
