"""Several pipelines at the command line: in the order in which they read each other, and only those whose upstream ended well."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from raypipe import launch
from raypipe.core.plan import Plan
from raypipe.core.window import Window
from raypipe.errors import SourceUnreadable
from raypipe.launch import PlanReport, RunReport
from raypipe.launch.reports import UpstreamReport
from raypipe.pipeline import RowsOutput, TableSource

DAY_US = 86_400_000_000
START_US = 1_356_998_400_000_000  # 2013-01-01T00:00:00Z


@pytest.fixture
def chain(launched, pipeline, monkeypatch, tmp_path):
    """`a.yaml`, `b.yaml` that reads its table, `c.yaml` that reads that of b, and `d.yaml` beside them; what was run, in order."""
    reads = {"a": None, "b": "a", "c": "b", "d": None}
    ran: list[str] = []

    def load(target: str, **_: Any) -> Any:
        name = target.removesuffix(".yaml").rpartition("/")[2]
        source = TableSource(path=pipeline.destination.path, table=f"of_{reads[name]}") if reads[name] else pipeline.source
        return replace(pipeline, name=name, source=source, outputs=(RowsOutput(table=f"of_{name}"),))

    def run(one: Any, ask: Any, **_: Any) -> RunReport:
        ran.append(one.name)
        if one.name in launched.broken:
            raise SourceUnreadable("a.csv is truncated")
        return RunReport(one, "r1", "inline", launched.closings.get(one.name, launched.closed))

    monkeypatch.setattr(launch, "load", load)
    monkeypatch.setattr(launch, "run", run)
    launched.__dict__.update(broken=set(), closings={}, ran=ran, reads=reads)
    return launched


def test_a_set_runs_in_the_order_of_who_reads_whose_table_whatever_the_order_given(chain, raypipe):
    result = raypipe("run", "d.yaml", "c.yaml", "b.yaml", "a.yaml", "--json")

    assert result.exit_code == 0
    assert chain.ran == ["d", "a", "b", "c"]
    assert [one["pipeline"] for one in json.loads(result.stdout)["runs"]] == ["d", "a", "b", "c"]


def test_a_folder_means_all_pipelines_in_it(chain, raypipe, tmp_path):
    for name in ("c.yaml", "a.yml", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "a.yml").rename(tmp_path / "a.yaml")

    document = json.loads(raypipe("run", str(tmp_path), "--json").stdout)
    assert [one["pipeline"] for one in document["runs"]] == ["a", "c"]

    (tmp_path / "c.yaml").unlink()  # a folder of one is a set too: its documents do not change their shape
    assert len(json.loads(raypipe("run", str(tmp_path), "--json").stdout)["runs"]) == 1
    (tmp_path / "a.yaml").unlink()
    result = raypipe("run", str(tmp_path))
    assert (result.exit_code, "a folder without pipelines" in result.stderr) == (2, True)


@pytest.mark.parametrize("how", ["some shards fail", "an error is raised"])
def test_one_that_does_not_end_well_stops_those_that_need_it_and_no_others(chain, closing, raypipe, how):
    if how == "some shards fail":
        chain.closings["a"] = closing("failed", committed=2, failed=1)
    else:
        chain.broken.add("a")

    result = raypipe("run", "a.yaml", "b.yaml", "c.yaml", "d.yaml", "--json")

    assert result.exit_code == 1
    assert chain.ran == ["a", "d"]
    assert [one for one in json.loads(result.stdout)["runs"] if one.get("status") == "waiting"] == [
        {"pipeline": "b", "status": "waiting", "waits_for": ["a"]},
        {"pipeline": "c", "status": "waiting", "waits_for": ["b"]},
    ]
    assert "b: not run, because it reads a table of a, which did not end well" in result.stderr


def test_after_ctrl_c_nothing_more_is_run_and_the_exit_code_is_that_of_the_signal(chain, closing, monkeypatch, raypipe):
    def run(one: Any, ask: Any, *, observer: Any, stop: Any, own_process: bool) -> RunReport:
        chain.ran.append(one.name)
        stop.signal = "SIGINT"
        return RunReport(one, "r1", "inline", closing("interrupted", committed=1, skipped=2))

    monkeypatch.setattr(launch, "run", run)

    assert raypipe("run", "a.yaml", "b.yaml", "d.yaml").exit_code == 130
    assert chain.ran == ["a"]


@pytest.mark.parametrize("verb", ["run", "plan", "status"])
def test_a_cycle_is_a_usage_error_that_names_it_and_nothing_is_done(chain, raypipe, verb):
    chain.reads["a"] = "c"

    result = raypipe(verb, "a.yaml", "b.yaml", "c.yaml", "d.yaml")

    assert result.exit_code == 2
    assert "a cycle, a -> c -> b -> a" in result.stderr
    assert chain.ran == []


def test_a_plan_of_a_set_shows_all_of_it_and_what_waits_for_upstream(chain, shards, monkeypatch, raypipe):
    work = {"a": tuple(shards[:2]), "b": (), "c": (), "d": ()}
    waits = UpstreamReport("of_a", "a", START_US + 3 * DAY_US, Window(START_US + 3 * DAY_US, START_US + 5 * DAY_US))

    def plan(one: Any, ask: Any) -> PlanReport:
        return PlanReport(
            one,
            Window(START_US, START_US + 5 * DAY_US),
            Plan(work[one.name]),
            chain.status(one).snapshot,
            "inline",
            upstream=waits if one.name == "b" else None,
        )

    monkeypatch.setattr(launch, "plan", plan)

    plans = json.loads(raypipe("plan", "c.yaml", "b.yaml", "d.yaml", "a.yaml", "--json").stdout)["plans"]
    assert [(one["pipeline"], one["waits_for"]) for one in plans] == [("a", []), ("b", ["a"]), ("c", ["b"]), ("d", [])]
    assert plans[1]["upstream"] == {
        "table": "of_a", "pipeline": "a", "watermark": "2013-01-04T00:00:00Z",
        "waiting": {"start": "2013-01-04T00:00:00Z", "end": "2013-01-06T00:00:00Z"},
    }  # fmt: skip
    assert plans[0]["upstream"] is None

    text = raypipe("plan", "b.yaml", "a.yaml").stdout
    assert "waiting for the table of_a\n  [2013-01-04T00:00:00Z, 2013-01-06T00:00:00Z): a has it complete up to" in text
    assert "b is planned again once a is done, whose table it reads" in text

    work["a"] = ()
    plans = json.loads(raypipe("plan", "b.yaml", "a.yaml", "--json").stdout)["plans"]
    assert [one["waits_for"] for one in plans] == [[], []]


def test_status_shows_several_in_the_order_of_a_run(chain, raypipe):
    document = json.loads(raypipe("status", "b.yaml", "a.yaml", "--json").stdout)

    assert [one["pipeline"] for one in document["pipelines"]] == ["a", "b"]
