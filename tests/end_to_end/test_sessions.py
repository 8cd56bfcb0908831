"""Sessions of a stated longest length: those of configs/sessions.yaml are those of plain Python, wherever shards are cut."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from raypipe.cli.group import cli

CONFIGS = Path(__file__).parents[2] / "configs"
GAP, LONGEST = timedelta(minutes=30), timedelta(hours=3)


def sessions(lines):
    """User, start, end and visits of each session, visit by visit."""
    visits = defaultdict(list)
    for line in lines:
        visit = json.loads(line)
        visits[visit["user"]].append(datetime.fromisoformat(visit["seen_at"]))
    for user, times in visits.items():
        begun: list[list[datetime]] = []
        for before, at in zip([None, *sorted(times)], sorted(times), strict=False):
            if before is None or at - before >= GAP:
                begun.append([])
            begun[-1].append(at)
        for of_session in begun:
            kept = [at for at in of_session if at < of_session[0] + LONGEST]
            yield user, kept[0], kept[-1], len(kept)


@pytest.mark.parametrize("width", ["1d", "4h"])
def test_sessions_are_those_of_plain_python_at_any_width_also_after_a_late_visit(tmp_path, width):
    lines = (CONFIGS / "samples" / "visits.jsonl").read_text().splitlines()
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "visits.jsonl").write_text("\n".join(lines[1:]) + "\n")
    (tmp_path / "sessions.yaml").write_text((CONFIGS / "sessions.yaml").read_text())
    (tmp_path / "samples" / "late.jsonl").write_text("")
    options = ["--set", f"time.shard={width}", "--set", "source.path=samples/*.jsonl"]
    late_times = ["01T22:30", "02T01:20", "02T01:45", "02T02:05"]  # with these, a session would last longer than it may
    of_one_user = [f'{{"user": "u2", "seen_at": "2024-05-{at}:00", "page": "/"}}' for at in late_times]
    for late in ([], [*of_one_user, lines[0]]):
        (tmp_path / "samples" / "late.jsonl").write_text("".join(f"{line}\n" for line in late))
        result = CliRunner().invoke(cli, ["run", str(tmp_path / "sessions.yaml"), *options, "-q"])
        assert result.exit_code == 0, result.stderr
        with duckdb.connect(str(tmp_path / "sessions.duckdb"), read_only=True) as connection:
            found = connection.execute('SELECT "user", started_at, ended_at, visits FROM sessions').fetchall()
        assert sorted(found) == sorted(sessions([*lines[1:], *late]))


def test_verify_proves_the_sessions_of_the_configuration_at_the_widths_that_it_names(tmp_path):
    shutil.copytree(CONFIGS / "samples", tmp_path / "samples")
    shutil.copy(CONFIGS / "sessions.yaml", tmp_path)
    assert CliRunner().invoke(cli, ["run", str(tmp_path / "sessions.yaml"), "-q"]).exit_code == 0
    result = CliRunner().invoke(cli, ["verify", str(tmp_path / "sessions.yaml"), "--widths", "1h,12h", "--json"])
    assert result.exit_code == 0, result.stderr
    told = {one["name"]: one["detail"] for one in json.loads(result.stdout)["checks"]}
    assert told["widths 1h"] == "1 table is the same in 72 shards of 1h and in 3 of 1d"
    assert told["widths 12h"] == "1 table is the same in 6 shards of 12h and in 3 of 1d"
