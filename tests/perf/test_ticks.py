from __future__ import annotations

from perf.ticks import make_ticks, pipeline_text
from raypipe import load, plan, run


def test_a_tick_file_more_is_one_shard_more(tmp_path):
    folder = make_ticks(tmp_path, 2, hours_a_file=3)
    config = tmp_path / "ticks.yaml"
    config.write_text(pipeline_text(folder, tmp_path / "out.duckdb", hours=6))
    assert run(load(config), executor="inline").closed.committed == 6
    config.write_text(pipeline_text(folder, tmp_path / "out.duckdb", hours=7, new=True))
    assert len(plan(load(config)).plan.shards) == 1
