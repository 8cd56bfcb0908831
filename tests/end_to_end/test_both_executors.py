"""Every kind of table and of source leaves the same under Ray as inline: the tables, what shards contributed, the accounts.

A keyed and a combined table, a table as source, and inputs that are joined: each pipeline is run, then a file of its input is
replaced, and it is run again, so that what is late is redone in part.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

import raypipe
from raypipe.pipeline import GroupByOutput

pytestmark = pytest.mark.ray  # about 3 s a pipeline

CONFIGS = Path(__file__).parents[2] / "configs"
LATE = {
    "keyed": ("order_changes.csv", "2024-06-03 09:00:00,O001,Dai,12.50,paid,update"),
    "weekly_revenue": ("orders.csv", "O099,2024-06-03 09:00:00,2024-06-03 09:05:00,Eve,ES,812.50,paid"),
    "join": ("ad_clicks.csv", "i12,2024-07-02T00:30:00"),
}
"""By pipeline: a file of its input, and a line that comes late."""
MEASURES = {
    "changes": "count(*)",
    "mean": "avg(amount)",
    "statuses": "count(DISTINCT status)",
    "p90": "approx_quantile(amount, 0.9)",
}
ADDED = {"keyed": (GroupByOutput(table="customers", group_by={"customer": "customer"}, measures=MEASURES),)}
READS = {"weekly_revenue": "clean_orders"}
"""By pipeline: the one whose table it reads."""
SHARDS = "SELECT lo, hi, outcome, output_fp, read, expanded, loaded, filtered, duplicate, quarantined FROM _raypipe.shards"
TABLES = """
SELECT schema_name || '.' || table_name FROM duckdb_tables()
WHERE schema_name = 'main' OR table_name LIKE 'contributions_%' ORDER BY ALL
"""


def contents(path):
    """What a pipeline leaves: each table with its shards, floats in all their bits, and what the ledger says of each shard."""
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [name for (name,) in connection.execute(TABLES).fetchall()]
        found = {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in tables}
        return {**found, "shards": connection.execute(f"{SHARDS} ORDER BY ALL").fetchall()}


@pytest.mark.parametrize("name", LATE)
def test_ray_leaves_what_inline_leaves_also_of_late_input(name, tmp_path, local_ray):
    shutil.copytree(CONFIGS / "samples", tmp_path / "samples")
    first = {one: ran(tmp_path, name, one) for one in ("inline", "ray")}
    file, line = LATE[name]
    path = tmp_path / "samples" / file
    path.write_text(f"{path.read_text()}{line}\n")
    os.utime(path, (10**9, 10**9))
    second = {one: ran(tmp_path, name, one) for one in ("inline", "ray")}
    assert first["inline"] == first["ray"]
    assert second["inline"] == second["ray"]
    assert {table for table in first["ray"] if first["ray"][table] != second["ray"][table]} > {"shards"}


def ran(folder, name, executor):
    path = folder / f"{executor}.duckdb"
    if name in READS:
        raypipe.run(loaded(folder, READS[name], path), executor="inline")
    pipeline = loaded(folder, name, path)
    report = raypipe.run(pipeline, executor=executor)
    closed = report.closed
    assert (" ray, " in report.executor) == (executor == "ray")
    assert (closed.status, closed.failures) == ("done", ())
    assert closed.committed > 0
    assert [check for check in raypipe.verify(pipeline) if not check.ok] == []
    return contents(path)


def loaded(folder, name, path):
    shutil.copy(CONFIGS / f"{name}.yaml", folder)
    pipeline = raypipe.load(str(folder / f"{name}.yaml"), overrides=[f"destination.path={path}"])
    return replace(pipeline, outputs=(*pipeline.outputs, *ADDED.get(name, ())))
