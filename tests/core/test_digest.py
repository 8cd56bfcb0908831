from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.digest import digest_of_sums, digest_query, digest_sums_sql, row_hash_sql
from raypipe.core.fingerprint import combine_digests

CONNECTION = duckdb.connect(":memory:", config={"threads": 1})
CONNECTION.execute("SET TimeZone = 'UTC'")


def digest(*rows: str, columns: tuple[str, ...] = ("a", "b")) -> str:
    source = " UNION ALL ".join(f"SELECT {row}" for row in rows)
    found = CONNECTION.execute(f"SELECT {digest_sums_sql(columns)} FROM ({source})").fetchone()
    assert found is not None
    return digest_of_sums(*found)


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    CONNECTION.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NULL AS a, 'x' AS b", "'NULL' AS a, 'x' AS b"),
        ("NULL AS a, 'x' AS b", "'' AS a, 'x' AS b"),
        ("'x,y' AS a, 'z' AS b", "'x' AS a, 'y,z' AS b"),
        ("'x\",\"y' AS a, 'z' AS b", "'x' AS a, 'y\",\"z' AS b"),
        ("'\\' AS a, '\"' AS b", "'\\\"' AS a, '' AS b"),
        ("1 AS a, 2 AS b", "2 AS a, 1 AS b"),
        ("0.0::DOUBLE AS a, 1 AS b", "-0.0::DOUBLE AS a, 1 AS b"),
        ("'nan'::DOUBLE AS a, 1 AS b", "NULL::DOUBLE AS a, 1 AS b"),
        ("'inf'::DOUBLE AS a, 1 AS b", "'-inf'::DOUBLE AS a, 1 AS b"),
        ("1.0::DOUBLE AS a, 1 AS b", "1.0000000000000002::DOUBLE AS a, 1 AS b"),
        ("123456789012345.678::DECIMAL(18,3) AS a, 1 AS b", "123456789012345.679::DECIMAL(18,3) AS a, 1 AS b"),
        (
            "99999999999999999999999999999999999.01::DECIMAL(38,2) AS a, 1 AS b",
            "99999999999999999999999999999999999.02::DECIMAL(38,2) AS a, 1 AS b",
        ),
        ("[1, NULL] AS a, 1 AS b", "[1] AS a, 1 AS b"),
        ("['a,b'] AS a, 1 AS b", "['a', 'b'] AS a, 1 AS b"),
        ("{'x': 1, 'y': NULL} AS a, 1 AS b", "{'x': NULL, 'y': 1} AS a, 1 AS b"),
        ("chr(0) AS a, 1 AS b", "'\\u0000' AS a, 1 AS b"),
        ("'\\xFF'::BLOB AS a, 1 AS b", "'\\xFE'::BLOB AS a, 1 AS b"),
    ],
)
def test_rows_that_differ_have_different_digests(one: str, other: str) -> None:
    assert digest(one) != digest(other)


def test_the_order_of_rows_and_of_columns_does_not_matter() -> None:
    assert digest("1 AS a, 'x' AS b", "2 AS a, 'y' AS b") == digest("2 AS a, 'y' AS b", "1 AS a, 'x' AS b")
    assert row_hash_sql(["b", "a"]) == row_hash_sql(["a", "b"])


def test_two_equal_rows_do_not_cancel_out() -> None:
    assert digest("1 AS a, 'x' AS b", "1 AS a, 'x' AS b") not in (digest_of_sums(None, None), digest("1 AS a, 'x' AS b"))


def test_a_digest_is_the_same_in_every_version() -> None:
    row = "1 AS a, 'é' AS b, 2.5::DOUBLE AS c, TIMESTAMP '2013-01-01 10:00:00' AS d, TIMESTAMPTZ '2013-01-01 00:00:00+00' AS e"
    assert digest(row, columns=("a", "b", "c", "d", "e")) == "cd7c64d88c06f558c29fe17c5b8701dc"


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.none() | st.text(max_size=3), st.floats()), max_size=10))
def test_the_digest_of_a_table_is_the_sum_of_the_digests_of_its_parts(rows: list[tuple[int, str | None, float]]) -> None:
    rows = [(part, None if text is None else text.replace("\x00", ""), number) for part, text, number in rows]
    CONNECTION.execute("CREATE OR REPLACE TABLE t (part INT, a VARCHAR, b DOUBLE)")
    if rows:
        CONNECTION.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    parts = {
        part: (count, digest) for part, count, digest in CONNECTION.execute(digest_query("t", ["b", "a"], by="part")).fetchall()
    }
    whole = CONNECTION.execute(f"SELECT {digest_sums_sql(['a', 'b'])} FROM t").fetchone()
    assert whole is not None
    assert combine_digests([digest for _, digest in parts.values()]) == digest_of_sums(*whole)
    assert sum(count for count, _ in parts.values()) == len(rows)


def test_the_engine_writes_the_digest_of_many_rows_as_the_sums_give_it() -> None:
    many = "(SELECT i AS a, i % 2 AS part FROM range(20000) AS r(i))"
    written = CONNECTION.execute(f"{digest_query(many, ['a'], by='part')} ORDER BY part").fetchall()
    sums = CONNECTION.execute(f"SELECT {digest_sums_sql(['a'])} FROM {many} GROUP BY part ORDER BY part").fetchall()
    assert written == [(part, 10_000, digest_of_sums(*found)) for part, found in enumerate(sums)]
