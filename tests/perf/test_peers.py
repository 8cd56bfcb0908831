from __future__ import annotations

from pathlib import Path

import pytest

from perf.canonical import require_equal
from perf.events import Shape, make_events
from perf.measure import measure
from perf.peers import FAMILIES, FOLDER, PEERS, Peer, chosen


def test_every_peer_has_a_script_and_every_script_a_peer():
    assert {f"{one.name}.py" for one in PEERS} == {path.name for path in FOLDER.glob("*.py")} - {"__init__.py"}


def test_a_peer_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    absent = Peer("absent", "absent", ("no_such_module",), 1)
    monkeypatch.setattr("perf.peers.PEERS", (*PEERS, absent))
    peers, missing = chosen(["absent"])
    assert absent not in peers
    assert [(one.name, one.command) for one in missing] == [("absent", "pip install -c perf/constraints.txt -e '.[perf]'")]


def test_the_scripts_with_the_same_engines_run_beside_other_engines():
    assert {one.family for one in chosen(["duckdb"])[0]} == {"duckdb", "polars_duckdb"}
    assert "polars_duckdb" not in {one.family for one in chosen(["raydata"])[0]}


def test_all_peers_of_the_command_line_are_there():
    assert {"duckdb", "polars", "dask", "spark", "raydata", "daft", "prefect"} < set(FAMILIES)


@pytest.mark.slow
def test_scripts_with_the_same_engines_answer_alike(tmp_path):
    events = make_events(tmp_path, Shape(rows=3_000, days=3))
    answers = {}
    for peer in PEERS:
        if set(peer.modules) <= {"polars", "duckdb"}:
            answers[peer.name] = Path(tmp_path / f"{peer.name}.duckdb")
            measure(peer.command(events.folder, answers[peer.name]))
    assert len(answers) == 5
    require_equal(answers)
