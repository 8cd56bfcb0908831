"""Any order of arrival, sharding, retries, backfills and replays ends in the tables of one clean run, for all kinds of table.

In CI two hundred histories run, ten of them on a DuckDB file. The long part is

    MERGE_HISTORIES=2400 pytest tests/merges/test_histories.py

of which one in twenty runs on a file too. A history that fails is named by its seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.memory import MemoryDestination

HISTORIES = int(os.environ.get("MERGE_HISTORIES", "200"))
BATCH = 200  # histories whose shards are computed in one task
NEAR = 1e-12  # of floating results across other boundaries; the numbers of the histories add up exactly, their squares may not
SKETCH_ERROR = 1 / 128  # of approx_quantile


def disagreements(by_hand, rows, events, clean):
    """What of the three tables is neither what plain Python says nor what a clean run gives."""
    found = [
        f"{table}: {text}"
        for table, due in (("everything", by_hand.everything(events)), ("newest", by_hand.newest(events)))
        for text in by_hand.differences(rows[table], due)
    ]
    due = by_hand.groups(events)
    exact = [{name: value for name, value in row.items() if name != "middle"} for row in due]
    found += [f"groups: {text}" for text in by_hand.differences(rows["groups"], exact, near=NEAR)]
    middle = [{name: row[name] for name in ("g", "n", "middle")} for row in due]
    found += [f"groups: {text}" for text in by_hand.differences(rows["groups"], middle, near=SKETCH_ERROR)]
    found += [f"{table}, clean run: {text}" for table in rows for text in by_hand.differences(rows[table], clean[table], near=NEAR)]
    return found


def in_memory(histories, contributed, commits, clock):
    destination = MemoryDestination("histories", clock=clock)

    def seen():
        return {one.table: sorted(repr(sorted(row.items())) for row in destination.rows(one.table)) for one in histories.OUTPUTS}

    histories.Committer(destination, contributed, as_rows=True, tables=seen).run(commits)
    return {one.table: _shown(destination.rows(one.table)) for one in histories.OUTPUTS}


def _shown(rows):
    return [{name: value for name, value in row.items() if name != "_shard"} for row in rows]


def check(histories, by_hand, outputs, clock, drawn):
    """Run histories on the memory destination, all of their shards computed at once."""
    contributed = histories.contribute(outputs, list(histories.shards_of(list(drawn.values()))))
    for name, history in drawn.items():
        rows = in_memory(histories, contributed, history.commits, clock)
        clean = in_memory(histories, contributed, [histories.clean_run(history)], clock)
        assert disagreements(by_hand, rows, history.events, clean) == [], f"history {name}"
    return contributed


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, HISTORIES, BATCH))
def test_any_history_ends_in_the_tables_of_one_clean_run(histories, by_hand, outputs, still_clock, tmp_path, first):
    seeds = range(first, min(first + BATCH, HISTORIES))
    drawn = {f"seed {seed}": histories.draw_history(Random(seed)) for seed in seeds}
    contributed = check(histories, by_hand, outputs, still_clock, drawn)
    for place, (name, history) in enumerate(list(drawn.items())[::20]):
        file = DuckDBFile(str(tmp_path / f"{name}.duckdb"), "histories", clock=still_clock)
        folder = tmp_path / name if place % 2 else None
        histories.Committer(file, contributed, folder=folder, tables=lambda file=file: bits_of(histories, file)).run(
            history.commits
        )
        clean = in_memory(histories, contributed, [histories.clean_run(history)], still_clock)
        assert disagreements(by_hand, tables_of(histories, file), history.events, clean) == [], f"history {name}"
        assert [one for one in file.verify() if not one.ok] == [], f"history {name}"


def bits_of(histories, file):
    return (
        {table: sorted(map(repr, rows)) for table, rows in tables_of(histories, file).items()} if Path(file.path).exists() else {}
    )


def tables_of(histories, file):
    import duckdb

    with duckdb.connect(file.path) as connection:
        found = {}
        for output in histories.OUTPUTS:
            shown = "* EXCLUDE (_shard)" if output.merge is None else "*"
            rows = connection.execute(f"SELECT {shown} FROM {output.table}")
            names = [name for name, *_ in rows.description]
            found[output.table] = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    return found


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(random=st.randoms(use_true_random=False))
def test_a_history_that_hypothesis_draws_ends_so_too(histories, by_hand, outputs, still_clock, random):
    check(histories, by_hand, outputs, still_clock, {"drawn": histories.draw_history(random, steps_max=4)})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_at_equal_boundaries_floating_measures_have_the_same_bits_in_any_order(histories, outputs, still_clock, tmp_path, seed):
    """The last commit of each range decides; numbers are such that every other order of adding gives other sums."""
    random = Random(seed)
    history = histories.draw_history(random, number=lambda: random.uniform(-1, 1) * 10 ** random.randint(0, 15))
    hour = histories.HOUR_US
    shards = [
        histories.Made(
            histories.Window(lo * hour, (lo + 2) * hour),
            tuple(one for one in history.events if lo * hour <= one.time_us < (lo + 2) * hour),
        )
        for lo in range(0, histories.HOURS, 2)
    ]
    alone = [histories.contribute(outputs, [one]) for one in shards]
    together = histories.contribute(outputs, shards)
    for table in ("newest", "groups"):
        for one, made in zip(alone, shards, strict=True):
            assert one.stats[table][made] == together.stats[table][made]
    found = []
    for trial in range(3):
        order = random.sample(shards, len(shards)) + random.sample(shards, 2)
        file = DuckDBFile(str(tmp_path / f"{trial}.duckdb"), "histories", clock=still_clock)
        histories.Committer(file, together).run([histories.Commit((one,)) for one in order])
        found.append(sorted(map(repr, tables_of(histories, file)["groups"])))
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["memory", "file"])
def test_compaction_changes_no_bit_of_a_floating_measure_now_or_later(histories, outputs, still_clock, tmp_path, where):
    """Numbers are such that every other order of adding gives other sums; the last shard touches all groups again."""
    random = Random(7)
    history = histories.draw_history(random, number=lambda: random.uniform(-1, 1) * 10 ** random.randint(0, 15))
    windows = [histories.Window(hour * histories.HOUR_US, (hour + 1) * histories.HOUR_US) for hour in range(histories.HOURS)]
    shards = [histories.Made(one, tuple(e for e in history.events if one.start_us <= e.time_us < one.end_us)) for one in windows]
    contributed = histories.contribute(outputs, shards)
    found = []
    for name, merged in (("plain", ()), ("first", windows[:5]), ("middle", windows[2:6]), ("all", windows)):
        file = DuckDBFile(str(tmp_path / f"{name}.duckdb"), "histories", clock=still_clock)
        here = file if where == "file" else MemoryDestination("histories", clock=still_clock)
        read = (lambda file=file: bits_of(histories, file)) if where == "file" else (lambda here=here: here.rows("groups"))
        again = histories.Commit((shards[-1],)) if windows[-1] not in merged else histories.Commit()
        compacted = [histories.Commit(merged=tuple(merged))] if merged else []
        commits = [histories.Commit((one,)) for one in shards] + compacted + ([again] if again.shards else [])
        histories.Committer(here, contributed, as_rows=where == "memory", tables=read).run(commits)
        found.append(tables_of(histories, file)["groups"] if where == "file" else here.rows("groups"))
        assert where == "memory" or [one for one in file.verify() if not one.ok] == []
    bits = [sorted(repr(sorted(row.items())) for row in rows) for rows in found]
    assert bits[1:] == bits[:1] * 3
