"""Hostile configurations, and windows with nothing in them, at the command line as a user calls it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

import raypipe
from raypipe.core.shard import Reason
from raypipe.core.window import Window, to_us
from raypipe.errors import ConfigurationError, UsageError
from raypipe.launch import Ask

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}

LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
HOSTILE = {
    "tag": "name: !!python/object/apply:os.system ['touch owned']\n",
    "tag-new": "name: !!python/object/new:subprocess.Popen [[touch, owned]]\n",
    "laughs": LAUGHS,
    "self": "name: &me [*me]\n",
    "duplicate": "name: one\nname: two\n",
    "merge": "base: &base {name: x}\nname: y\n<<: *base\n",
    "large": "description: " + "x" * (1 << 20) + "\n",
    "deep": "[" * 100_000,
    "binary": b"\x80\x81\xfe\xff\0name: x\n",
    "nothing": "",
    "list": "- name: x\n",
    "documents": "name: a\n---\nname: b\n",
    "control": "name: \x1b[31mred\n",
}


@pytest.mark.fault(66)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_configuration_is_refused_with_its_file(bench, kind):
    bench.folder = bench.folder / ("a folder with a very long name, " * 4)  # a path is told whole
    bench.folder.mkdir()
    path = bench.write("pipeline.yaml", HOSTILE[kind])
    with pytest.raises(ConfigurationError) as refused:
        bench.load()
    assert all(problem.startswith(str(path)) for problem in refused.value.problems)
    assert len(str(refused.value)) < 20_000
    assert "\x1b" not in str(refused.value)
    assert not (bench.folder / "owned").exists()


@pytest.mark.fault(66)
def test_hostile_configurations_at_the_command_line_give_exit_code_2_and_no_traceback(bench, cli):
    names = []
    for kind, content in HOSTILE.items():
        names.append(f"{kind}.yaml")
        bench.write(names[-1], content)
    told = cli("run", *names)  # the first that is wrong ends it: nothing was run
    assert told.exit_code == 2
    assert "nothing was run\n  tag.yaml:1: name: got the tag tag:yaml.org,2002:python/object/apply:os.system" in told.stderr
    assert "Traceback" not in told.stderr + told.stdout
    assert told.stdout == ""
    assert not (bench.folder / "owned").exists()
    told = cli("check", "laughs.yaml", "--json")
    error = json.loads(told.stdout)["error"]
    assert (told.exit_code, error["code"], error["exit_code"]) == (2, "configuration", 2)


# ---- windows ----------------------------------------------------------------------------------------------


def at(day: int) -> int:
    return to_us(datetime(2026, 1, day, tzinfo=UTC))


@pytest.mark.fault(68)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_without_rows_are_covered_as_empty_and_later_rows_are_late(bench, kind):
    import pyarrow as pa

    def write(rows: list[int]) -> None:
        if kind == "jsonl":
            bench.write("in.jsonl", "".join(f'{{"id": {number}, "ts": "2026-01-02T00:00:00"}}\n' for number in rows))
        else:
            times = pa.array([datetime(2026, 1, 2)] * len(rows), pa.timestamp("us"))
            bench.parquet("in.parquet", pa.table({"id": pa.array(rows, pa.int64()), "ts": times}))

    write([])
    outputs = [{"table": "clean", "rows": "all"}, {"table": "counts", "sql": "SELECT count(*) AS n FROM rows"}]
    bench.config(f"in.{kind}", columns=COLUMNS, outputs=outputs)
    report = bench.done()
    assert (report.closed.planned, report.closed.committed, report.closed.rows.read) == (3, 3, 0)
    assert report.closed.watermark_us == at(4)
    assert bench.query("SELECT DISTINCT outcome FROM _raypipe.shards") == [("empty",)]
    assert bench.query("SELECT DISTINCT lo, hi FROM _raypipe.coverage") == [(datetime(2026, 1, 1), datetime(2026, 1, 4))]
    assert bench.query("SELECT count(*), count(id) FROM clean") == [(0, 0)]
    assert set(bench.column("SELECT n FROM counts")) <= {0}
    write([7])
    report = bench.done()
    assert (report.closed.planned, report.closed.rows.read) == (1, 1)
    assert bench.column("SELECT id FROM clean") == [7]
    assert bench.column("SELECT n FROM counts ORDER BY n DESC")[0] == 1


@pytest.mark.fault(68)
def test_a_window_without_any_row_is_covered_as_empty(bench):
    bench.write("in.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    bench.config("in.csv", columns=COLUMNS)
    report = raypipe.run(bench.load(), Window(at(2), at(3)), executor="inline")
    assert (report.closed.status, report.closed.committed, report.closed.rows.read) == ("done", 1, 0)
    assert bench.query("SELECT lo, hi, outcome FROM _raypipe.shards") == [(datetime(2026, 1, 2), datetime(2026, 1, 3), "empty")]
    bench.proven()


@pytest.mark.fault(68)
@pytest.mark.parametrize(("start", "end"), [(2, 2), (3, 2)])
def test_an_empty_or_inverted_window_is_refused_and_nothing_is_run(bench, start, end):
    bench.write("in.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    bench.config("in.csv", columns=COLUMNS)
    with pytest.raises(ValueError, match="end"):
        Window(at(start), at(end))
    with pytest.raises(UsageError, match=r"empty|inverted"):
        bench.ask_run(Ask(start_us=at(start), end_us=at(end)), observer=None)
    assert not bench.out.exists()


@pytest.mark.fault(68)
def test_an_inverted_window_at_the_command_line_is_exit_code_2(bench, cli):
    bench.write("in.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    bench.config("in.csv", columns=COLUMNS)
    told = cli("run", "pipeline.yaml", "--start", "2026-01-03", "--end", "2026-01-02")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: the window is inverted: --start 2026-01-03 is not before --end 2026-01-02 ")
    assert told.stderr.count("\n") == 1
    assert not bench.out.exists()


@pytest.mark.fault(68)
def test_a_window_beyond_the_history_has_nothing_to_do(bench):
    bench.write("in.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    bench.config("in.csv", columns=COLUMNS)
    report = raypipe.run(bench.load(), Window(at(10), at(12)), executor="inline")
    assert (report.closed.status, report.closed.planned) == ("done", 0)
    assert Reason.NEW in {shard.reason for shard in raypipe.plan(bench.load()).plan.shards}
