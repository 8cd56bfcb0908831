from __future__ import annotations

import pytest

from raypipe.engine import output_sql
from raypipe.engine.groupable import groupable
from raypipe.engine.output_sql import SqlRefused, aggregates_of, order_dependence, parse_select


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", '"read_csv" is not allowed'),
        ("SELECT * FROM read_text('../../etc/passwd')", '"read_text" is not allowed'),
        ("SELECT * FROM glob('/*')", '"glob" is not allowed'),
        ("SELECT * FROM '/etc/passwd'", 'no table "/etc/passwd"'),
        ("SELECT * FROM 'data.parquet'", 'no table "data.parquet"'),
        ("SELECT * FROM hidden_python_variable", 'no table "hidden_python_variable"'),
        ("SELECT * FROM information_schema.tables", 'no table "information_schema.tables"'),
        ("SELECT * FROM main.rows", 'no table "main.rows"'),
        ("SELECT * FROM duckdb_settings()", '"duckdb_settings" is not allowed'),
        ("SELECT * FROM query('SELECT 1')", '"query" is not allowed'),
        ("SELECT getvariable('x') FROM rows", "getvariable is a clock, random or a setting"),
        ("SELECT current_setting('temp_directory')", "current_setting is a clock, random or a setting"),
        ("ATTACH 'other.duckdb'", "got ATTACH"),
        ("COPY (SELECT 1) TO '/tmp/x'", "got COPY"),
        ("PRAGMA version", "got PRAGMA"),
        ("SET threads = 8", "got SET"),
        ("INSTALL httpfs", "got LOAD"),
        ("CALL pragma_version()", "got CALL"),
        ("EXPLAIN SELECT 1", "got EXPLAIN"),
        ("SELECT 1; DROP TABLE rows", "got 2 statements"),
        ("", "got 0 statements"),
        ("SELECT $1 FROM rows", "placeholder"),
        ("DESCRIBE rows", "no SELECT over rows"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x", "INSERT"),
        ("SELEKT 1", "syntax error"),
        ("SELECT now() FROM rows", "now is a clock"),
        ("SELECT current_date FROM rows", "current_date is a clock"),
        ("SELECT today() FROM rows", "today is a clock"),
        ("SELECT age(t) FROM rows", "age of one argument"),
        ("SELECT current_localtimestamp()", "is a clock"),
        ("SELECT random() FROM rows", "random is a clock, random"),
        ("SELECT uuid() FROM rows", "uuid is a clock, random"),
        ("SELECT reservoir_quantile(v, 0.5) FROM rows", "reservoir_quantile is a clock, random"),
        ("SELECT * FROM rows USING SAMPLE 10%", "a sample is random"),
        ("SELECT nextval('s') FROM rows", "nextval"),
        ("SELECT pg_postmaster_start_time()", "pg_postmaster_start_time"),
        ("SELECT (SELECT max(x) FROM read_json('a')) FROM rows", '"read_json" is not allowed'),
    ],
)
def test_sql_that_is_not_one_pure_select_over_rows_is_refused(sql: str, reason: str) -> None:
    with pytest.raises(SqlRefused) as caught:
        parse_select(sql)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT k, count(*), list_sort(list(v)), histogram(v), if(k > 1, 1, 2) FROM rows GROUP BY ALL;",
        "FROM ROWS",
        "WITH a AS (SELECT * FROM rows), b AS (SELECT * FROM a) SELECT * FROM b JOIN rows USING (k)",
        "SELECT * FROM rows, unnest([1, 2]) AS x(n), range(3) AS r(i), (VALUES (1)) AS v(z)",
        "SELECT age(t, s), date_trunc('hour', t) FROM rows -- ; a comment",
        "SELECT * FROM rows PIVOT (sum(v) FOR k IN (1, 2))",
    ],
)
def test_sql_over_rows_is_allowed(sql: str) -> None:
    text, _ = parse_select(sql)
    assert not text.endswith(";")


@pytest.mark.parametrize(
    ("sql", "warned"),
    [
        ("SELECT first(v), count(*) FROM rows", ["first without ORDER BY"]),
        ("SELECT any_value(v), list(v), string_agg(s, ',') FROM rows", ["any_value", "list", "string_agg"]),
        ("SELECT first(v ORDER BY t), list(v ORDER BY t) FROM rows", []),
        ("SELECT row_number() OVER (PARTITION BY k) FROM rows", ["row_number without ORDER BY"]),
        ("SELECT row_number() OVER (ORDER BY t), rank() OVER (ORDER BY k) FROM rows", []),
        ("SELECT * FROM rows LIMIT 5", ["LIMIT without ORDER BY"]),
        ("SELECT * FROM (SELECT * FROM rows ORDER BY t LIMIT 5)", []),
        ("SELECT DISTINCT ON (k) k, v FROM rows", ["DISTINCT ON without ORDER BY"]),
        ("SELECT arg_max(v, t) FROM rows", ["arg_max takes any of equal values"]),
        ("SELECT k, sum(v) FROM rows GROUP BY k", []),
    ],
)
def test_what_depends_on_the_order_of_rows_is_warned_of(sql: str, warned: list[str]) -> None:
    found = sorted(order_dependence(sql))
    assert len(found) == len(warned)
    for text, expected in zip(found, sorted(warned), strict=True):
        assert text.startswith(expected)


@pytest.mark.parametrize(
    ("sql", "shared"),
    [
        ("SELECT k, sum(v) FROM rows WHERE v > 0 GROUP BY k HAVING count(*) > 2 ORDER BY k", True),
        ("SELECT count(*), avg(v) FROM rows", True),
        ("WITH a AS (SELECT v * 2 AS w FROM rows) SELECT sum(w) FROM a", True),
        ("SELECT k, v FROM rows UNION ALL SELECT k, -v FROM rows", True),
        ("SELECT DISTINCT k FROM rows", True),
        ("SELECT s / c FROM (SELECT sum(v) AS s, count(*) AS c FROM rows GROUP BY k)", True),
        ("SELECT sum(s) FROM (SELECT sum(v) AS s FROM rows GROUP BY k)", False),
        ("SELECT sum(a.v) FROM rows a JOIN rows b USING (k)", False),
        ("SELECT sum(v) OVER (ORDER BY t) FROM rows", False),
        ("SELECT v FROM rows LIMIT 3", False),
        ("SELECT (SELECT max(v) FROM rows) FROM rows", False),
        ("SELECT k, sum(v) FROM rows GROUP BY ROLLUP (k)", False),
        ("SELECT sum(v) FROM (SELECT v FROM rows ORDER BY t)", False),
        ("SELECT entropy(k) FROM rows", False),
        ("SELECT mode(k) FROM rows", False),
        ("SELECT k FROM rows UNION SELECT k FROM rows", False),
        ("WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 3) SELECT * FROM c", False),
    ],
)
def test_shards_share_a_query_only_where_the_order_of_rows_is_kept(sql: str, shared: bool) -> None:
    assert groupable(parse_select(sql)[1]) is shared


def test_usual_functions_are_what_the_catalogue_of_this_duckdb_says() -> None:
    aggregates, scalars = output_sql._USUAL_AGGREGATES, output_sql._USUAL_SCALARS
    assert aggregates <= output_sql._aggregate_names()
    assert scalars <= {name for name, kind, _ in output_sql._functions() if kind in ("scalar", "macro")}
    assert not scalars & output_sql._aggregate_names()
    assert not (aggregates | scalars) & output_sql._impure_names()


def test_aggregates_are_found_among_usual_functions_and_others() -> None:
    assert aggregates_of({"sum", "lower"}) == {"sum"}
    assert aggregates_of({"sum", "lower", "histogram", "list_sort"}) == {"sum", "histogram"}


def test_usual_functions_are_known_without_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> None:
        raise AssertionError("the catalogue was asked")

    monkeypatch.setattr(output_sql, "_functions", asked)
    output_sql._aggregate_names.cache_clear()
    output_sql._impure_names.cache_clear()
    _, tree = parse_select("SELECT date_trunc('hour', t), count(*), sum(v) FROM rows GROUP BY ALL")
    assert groupable(tree)
