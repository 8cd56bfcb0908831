"""Names and SQL that mean harm: refused with a text, or taken as the plain words they are; nothing outside is touched."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import raypipe
from raypipe.errors import ConfigurationError, RaypipeError

NASTY = [
    '"; DROP TABLE clean; --', "'; DROP SCHEMA _raypipe CASCADE; --", "a\"b", "a'b", "a.b", "_raypipe.live", "../../etc/passwd",
    "%2e%2e%2f", "SELECT", "$1", "{0}", "%s", "\\", " lead", "ünï", "\u202eevil", "=cmd()", "rows", "clean", "main.clean",
    "/* c */", "-- c", "a;b",
]  # fmt: skip
NAMES = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
IDENTIFIER = set("abcdefghijklmnopqrstuvwxyz0123456789_")


KEYS = {"pipeline": "name", "rule": "quality.rules.0.name", "filter": "transform.0.name", "table": "outputs.0.table"}


def document(**places: str) -> dict:
    return {
        "name": places.get("pipeline", "faults"),
        "time": {"column": "ts", "start": "2026-01-01", "end": "2026-01-02", "shard": "1d"},
        "source": {"kind": "files", "path": "in.parquet", "format": "parquet"},
        "quality": {"rules": [{"name": places.get("rule", "positive"), "expect": "id > 0"}]},
        "transform": [{"filter": "id > 1", "name": places.get("filter", "above_one")}],
        "outputs": [{"table": places.get("table", "clean"), "rows": "all"}],
        "destination": {"kind": "duckdb", "path": "out.duckdb"},
    }


@pytest.mark.fault(65)
@settings(max_examples=60, deadline=None)
@given(place=st.sampled_from(["pipeline", "rule", "filter", "table"]), name=NAMES)
def test_a_name_of_ours_is_a_plain_word_or_is_refused_with_its_place(place, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(yaml.safe_dump(document(**{place: name}), allow_unicode=True), encoding="utf-8")
        plain = set(name) <= IDENTIFIER and name[0].isalpha() and len(name) <= 63
        refused = None
        try:
            raypipe.load(str(path))
        except ConfigurationError as error:
            refused = str(error)
        assert plain == (refused is None)
        if refused is not None:
            assert f": {KEYS[place]}: " in refused
            assert "\x1b" not in refused


def held(names: list[str]) -> list[str]:
    """The names without those that tables take for the same."""
    return list({name.lower(): name for name in names if not name.lower().startswith(("_", "ts", "id"))}.values())


@pytest.mark.fault(65)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(names=st.lists(NAMES, min_size=3, max_size=12).map(held))
def test_columns_of_any_name_arrive_under_it_and_harm_nothing(bench_in, names):
    bench = bench_in()
    columns = {name: [f"{name} 0", "1", f"{name} 2"] for name in names}
    table = pa.table({"id": [0, 1, 2], "ts": [datetime(2026, 1, 1)] * 3, **columns})
    bench.parquet("in.parquet", table)
    (bench.folder / "pipeline.yaml").write_text(yaml.safe_dump(document()), encoding="utf-8")
    rows = bench.done().closed.rows
    assert (rows.read, rows.loaded, rows.filtered, rows.quarantined) == (3, 1, 1, 1)
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in ["id", *names])
    assert bench.query(f"SELECT {quoted} FROM clean") == [(2, *(f"{name} 2" for name in names))]
    assert [name for name, *_ in bench.query("DESCRIBE clean")] == ["id", "ts", *names, "_shard"]
    assert bench.query("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> '_raypipe'") == [
        ("main", "clean")
    ]


@pytest.mark.fault(65)
@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"a": [1], "A": [2]}, "the rows: columns 'a' and 'A' have one name"),
        ({"a\0b": [1]}, "the rows: got a column named 'a\\x00b', expected a name without NUL"),
        ({"_Shard": [1]}, "'_Shard' is a name that raypipe keeps for itself"),
    ],
    ids=["case", "nul", "shard"],
)
def test_columns_that_no_table_can_hold_fail_the_shards_and_are_never_renamed_silently(bench, columns, text):
    bench.parquet("in.parquet", pa.table({"id": [1], "ts": [datetime(2026, 1, 1)], **columns}))
    bench.config("in.parquet", columns={})
    failures = bench.failed()
    assert all(text in error for _, error in failures), failures
    assert bench.query("SELECT * FROM _raypipe.live") == []


SQL = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('canary')",
    "SELECT * FROM glob('/etc/*')",
    "COPY rows TO 'stolen.csv'",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "ATTACH 'stolen.duckdb' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "SELECT 1; DROP TABLE rows",
    "DROP TABLE rows",
    "CREATE TABLE stolen AS SELECT * FROM rows",
    "DELETE FROM rows RETURNING *",
    "EXPORT DATABASE 'stolen'",
    "SELECT getenv('HOME') AS home",
    "SELECT current_setting('temp_directory') AS folder",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM main.rows",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('rows')",
    "SELECT * FROM connection",
    "SELECT * FROM secret",
    "SELECT (SELECT content FROM read_text('canary')) AS stolen FROM rows",
    "WITH stolen AS (FROM read_blob('canary')) FROM stolen",
    "SELECT now() AS at FROM rows",
    "SELECT random() AS dice FROM rows",
    "SELECT nextval('serial') AS n FROM rows",
    "CALL pragma_version()",
    "FROM sniff_csv('canary')",
    "",
    "SELECT",
    "rows",
]


@pytest.mark.fault(65)
def test_sql_of_an_output_reaches_nothing_but_its_rows(bench, monkeypatch):
    monkeypatch.chdir(bench.folder)
    secret = pa.table({"secret": ["word"]})  # SQL may not read Python's variables either
    assert secret.num_rows == 1
    bench.write("canary", "the secret word")
    bench.write("in.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    before = None
    for sql in SQL:
        bench.config("in.csv", columns={"id": "int64", "ts": "timestamp"}, outputs=[{"table": "stolen", "sql": sql}])
        try:
            report = bench.run()
        except RaypipeError as error:
            told = [str(error)]
        else:
            assert report.closed.status == "failed", sql
            assert report.tables.get("stolen", 0) == 0, sql
            told = [failure.error for failure in report.closed.failures]
        assert all("the secret word" not in text and "root:" not in text for text in told), sql
        before = before or {path.name for path in bench.folder.iterdir()} | {"out.duckdb", "out.duckdb.raypipe", "out.duckdb.wal"}
        assert {path.name for path in bench.folder.iterdir()} <= before, sql
