"""SQL without its formatting: what is quoted stays, what means something else stays apart."""

from __future__ import annotations

import duckdb
import pytest

from raypipe.engine.sql_text import normalised

SAME = [
    ("a<-1", "a < - 1"),
    ("x::INT", "x :: INT"),
    ("a -- one\n+ b", "a+b"),
    ("a /* -- */ + b", "a + b"),
    ("f( a,b )", "f(a, b)"),
    ("'it''s'", "  'it''s'  "),
]
OTHER = [
    ("'a b'", "'a  b'"),
    ("'--'", "''"),
    ('"a b"', '"a  b"'),
    ("$$a b$$", "$$a  b$$"),
    ("$x$ /* $x$", "$x$ $x$"),
    ("E'\\\\'' -- '", "E'\\\\''"),
    ("a b", "ab"),
    ("1 2", "12"),
    ("a - - 1", "a"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_white_space_and_comments_do_not_count(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_may_mean_something_else_counts(one, other):
    assert normalised(one) != normalised(other)


def test_duckdb_reads_the_same_from_a_text_as_from_its_tokens():
    sql = """
        SELECT k, sum(v) FILTER (v <> 2) AS s, max(E'a\\\'b') AS e, [x * 2 FOR x IN list(v)] AS l, -- the end
            {'a': 1}.a AS "q  q", /* no */ 1e-3 AS small, 'x' || '--y' AS t, date '2024-01-01' + interval 1 day AS d
        FROM (VALUES (1, 2), (1, 3), (2, 4)) AS r(k, v) GROUP BY k ORDER BY k
    """
    with duckdb.connect() as connection:
        first = connection.execute(sql)
        names, rows = [one[0] for one in first.description], first.fetchall()
        again = connection.execute(normalised(sql))
        assert ([one[0] for one in again.description], again.fetchall()) == (names, rows)
