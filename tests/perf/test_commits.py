from __future__ import annotations

import duckdb
import pyarrow as pa

from perf.commits import TABLE, open_commits


def test_made_up_commits_stand_in_table_and_ledger(tmp_path):
    commits = open_commits(tmp_path / "out.duckdb")
    assert commits.commit(range(3), {"x": pa.array(range(6), pa.int64())}) > 0
    commits.commit(range(3, 4), {"x": pa.array([6, 7], pa.int64())})
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        ledger = connection.execute("SELECT count(*) FROM _raypipe.shards").fetchone()
        table = connection.execute(f"SELECT sum(x), count(DISTINCT _shard) FROM {TABLE}").fetchone()
    assert (ledger, table) == ((4,), (28, 4))
