"""The same made-up events as Parquet, CSV and JSON Lines give the same tables, whatever the executor and the shards.

Rows of a day stand in the next day's file too, some are delivered twice, some are dirty, and the zone changes its clocks.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import duckdb
import pytest

import raypipe

FIRST = datetime(2026, 3, 26)  # clocks in Madrid go forward on 29 March: 02:00 to 03:00 does not occur
DAYS = 7
ROWS_A_DAY = 300
SHAPE = "STRUCT(event_id BIGINT, ts TIMESTAMP, kind VARCHAR, amount DOUBLE)"


def made_up_days():
    """Rows by the day of the file that they stand in."""
    rng = random.Random(7)
    files = [[] for _ in range(DAYS)]
    for number in range(DAYS * ROWS_A_DAY):
        day = number // ROWS_A_DAY
        moment = FIRST + timedelta(days=day, seconds=rng.randrange(86_400), microseconds=rng.randrange(10**6))
        row = [number, moment, rng.choice(["view", "click", 'with "quotes", and commas', "ünïcödé"]), rng.randrange(6400) / 64]
        roll = rng.random()
        if roll < 0.01:
            row[3] = -row[3] - 1  # breaks the rule
        elif roll < 0.02:
            row[3] = None  # is required
        elif roll < 0.03:
            row[1] = None  # no event time
        elif roll < 0.04:
            row[1] = datetime(2026, 3, 29, 2, rng.randrange(60))  # no such time in Madrid
        late = rng.random() < 0.1 and day + 1 < DAYS
        files[day + late].append(row)
        if rng.random() < 0.05 and row[1] is not None:
            files[min(day + 1, DAYS - 1)].append(list(row))  # delivered twice
    return files


def write(folder, kind):
    """Write the files of one format by DuckDB, so that none of our own code is its own witness."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE events (day INT, event_id BIGINT, ts TIMESTAMP, kind VARCHAR, amount DOUBLE)")
    connection.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?)", [[day, *row] for day, rows in enumerate(made_up_days()) for row in rows]
    )
    options = {"parquet": "FORMAT parquet, ROW_GROUP_SIZE 2048", "csv": "FORMAT csv, HEADER", "jsonl": "FORMAT json"}[kind]
    for day in range(DAYS):
        connection.execute(f"COPY (SELECT * EXCLUDE (day) FROM events WHERE day = {day}) TO '{folder}/day{day}.{kind}' ({options})")
    return connection


def by_duckdb(connection, path):
    """Compute the tables from the rows alone."""
    connection.execute(f"ATTACH '{path}' AS answer")
    connection.execute("""
        CREATE TABLE answer.clean AS
            SELECT event_id, ts, kind, amount FROM events
            WHERE amount >= 0 AND NOT (ts >= '2026-03-29 02:00' AND ts < '2026-03-29 03:00')
            QUALIFY row_number() OVER (PARTITION BY event_id) = 1;
        CREATE TABLE answer.hourly AS
            SELECT date_trunc('hour', ts) AS hour, kind, count(*) AS events, sum(amount) AS amount FROM answer.clean GROUP BY ALL;
    """)
    read = connection.execute("SELECT count(*) FROM events").fetchall()[0][0]
    connection.close()
    return read


CONFIG = """
name: events
time: {{column: ts, zone: Europe/Madrid, start: 2026-03-26, end: 2026-04-02, shard: {shard}}}
source:
  kind: files
  path: "*.{kind}"
  columns:
    event_id: {{type: int64, required: true}}
    ts: timestamp
    kind: string
    amount: {{type: float64, required: true}}
quality:
  max_quarantined: {{share: 50%, at_least: 1000}}
  rules:
    - {{name: not_negative, expect: "amount >= 0"}}
transform:
  - deduplicate: {{key: [event_id]}}
outputs:
  - table: clean
    rows: all
  - table: hourly
    sql: SELECT date_trunc('hour', ts) AS hour, kind, count(*) AS events, sum(amount) AS amount FROM rows GROUP BY ALL
destination: {{kind: duckdb, path: out.duckdb}}
"""


def differences(folder):
    connection = duckdb.connect()
    connection.execute(
        f"ATTACH '{folder}/answer.duckdb' AS expected (READ_ONLY); ATTACH '{folder}/out.duckdb' AS found (READ_ONLY)"
    )
    result = []
    for table in ("clean", "hourly"):
        ours, theirs = f"SELECT * EXCLUDE (_shard) FROM found.{table}", f"SELECT * FROM expected.{table}"
        result += connection.execute(f"({ours} EXCEPT ALL {theirs}) UNION ALL ({theirs} EXCEPT ALL {ours})").fetchall()
    connection.close()
    return result


def run(folder, kind, shard, executor):
    read = by_duckdb(write(folder, kind), folder / "answer.duckdb")
    config = folder / "events.yaml"
    config.write_text(CONFIG.format(kind=kind, shard=shard))
    pipeline = raypipe.load(str(config))
    report = raypipe.run(pipeline, executor=executor)
    assert report.closed.failures == ()
    assert report.closed.status == "done"
    rows = report.closed.rows
    assert (rows.read, rows.balanced) == (read, True)
    assert rows.duplicate > 20
    assert {one["rule"] for one in report.quarantine} == {"no_event_time", "no_such_time", "not_negative", "required_amount"}
    assert differences(folder) == []
    assert [check for check in raypipe.verify(pipeline) if not check.ok] == []
    return rows


@pytest.mark.parametrize("shard", ["1h", "1d", "1w"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_inline_tables_equal_duckdbs_own_answer(tmp_path, kind, shard):
    run(tmp_path, kind, shard, "inline")


@pytest.mark.ray
@pytest.mark.parametrize(("kind", "shard"), [("parquet", "1d"), ("csv", "1h"), ("jsonl", "1w")])
def test_tables_by_ray_equal_duckdbs_own_answer(tmp_path, kind, shard, local_ray):
    run(tmp_path, kind, shard, "ray")


def contents(path):
    """Everything that a run decides: tables with their shards, accounts, digests, coverage. Floats in all their bits."""
    connection = duckdb.connect(str(path), read_only=True)
    queries = [
        "SELECT * FROM clean ORDER BY ALL",
        "SELECT * FROM hourly ORDER BY ALL",
        """SELECT lo, hi, outcome, input_fp, output_fp, read, expanded, loaded, filtered, duplicate, quarantined
           FROM _raypipe.shards ORDER BY lo""",
        "SELECT shard, source, position, rule, error, raw FROM _raypipe.quarantine ORDER BY ALL",
        "SELECT * FROM _raypipe.coverage ORDER BY ALL",
    ]
    found = [connection.execute(query).fetchall() for query in queries]
    connection.close()
    return found


@pytest.mark.ray
def test_both_executors_leave_the_same_bits_and_the_same_accounts(tmp_path, local_ray):
    write(tmp_path, "csv").close()
    config = tmp_path / "events.yaml"
    config.write_text(CONFIG.format(kind="csv", shard="1h"))
    found = {}
    for executor in ("inline", "ray"):
        pipeline = raypipe.load(str(config), overrides=[f"destination.path={executor}.duckdb"])
        assert raypipe.run(pipeline, executor=executor).closed.status == "done"
        found[executor] = contents(tmp_path / f"{executor}.duckdb")
    assert found["inline"] == found["ray"]
