"""A rolling seven-day average: what it is cut by shows without a lookback, and with one it is the same at every width.

The widths are computed around the days on which the clocks change, where a week is 167 or 169 hours long.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from raypipe.cli.group import cli

pytestmark = pytest.mark.slow  # about 20 s in all: three days of hours, each with the seven days before it, several times

CHANGES = {"spring": "2026-03-29", "autumn": "2026-10-25"}
DAYS_BEFORE, DAYS_AFTER = 14, 3
OVER = "WINDOW w AS (ORDER BY read_at RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND CURRENT ROW)"
AVERAGE = f"SELECT read_at, kwh, avg(kwh) OVER w AS mean_of_a_week, count(*) OVER w AS readings FROM rows {OVER}"


class Meter:
    """Readings of every hour that the clocks of Madrid show, around a change of clocks."""

    def __init__(self, folder: Path, season: str) -> None:
        self.folder = folder
        self.change = datetime.fromisoformat(CHANGES[season])
        self.start, self.end = self.change - timedelta(days=DAYS_BEFORE), self.change + timedelta(days=DAYS_AFTER)
        hours = (self.start + timedelta(hours=hour) for hour in range(24 * (DAYS_BEFORE + DAYS_AFTER)))
        lines = [f"{at},{at.day * 31 % 17 + at.hour * 7 % 13 / 10:.1f}" for at in hours if (season, at) != ("spring", self.skipped)]
        (folder / "meter.csv").write_text("\n".join(["read_at,kwh", *lines]) + "\n")

    @property
    def skipped(self) -> datetime:
        return self.change + timedelta(hours=2)

    def config(self, lookback: str | None) -> Path:
        document = {
            "name": "meter",
            "time": {
                "column": "read_at", "zone": "Europe/Madrid", "shard": "1d",
                "start": f"{self.start:%Y-%m-%d}", "end": f"{self.end:%Y-%m-%d}", **({"lookback": lookback} if lookback else {}),
            },
            "source": {"kind": "files", "path": "meter.csv", "columns": {"read_at": "timestamp", "kwh": "float64"}},
            "outputs": [{"table": "rolling", "sql": f"{AVERAGE} QUALIFY _in_shard" if lookback else AVERAGE}],
            "destination": {"kind": "duckdb", "path": "meter.duckdb"},
        }  # fmt: skip
        path = self.folder / "meter.yaml"
        path.write_text(json.dumps(document))
        return path

    def verified(self, config: Path, widths: str) -> tuple[int, dict[str, tuple[bool, str]]]:
        """Compute the day before the change, the day itself and the day after it."""
        around = [f"{self.change + timedelta(days=days):%Y-%m-%d}" for days in (-1, 2)]
        command = ["verify", str(config), "--widths", widths, "--start", around[0], "--end", around[1], "--json", "-q"]
        result = CliRunner().invoke(cli, command)
        return result.exit_code, {one["name"]: (one["ok"], one["detail"]) for one in json.loads(result.stdout)["checks"]}


@pytest.mark.parametrize("season", CHANGES)
def test_with_a_lookback_of_days_every_width_gives_the_same_across_a_change_of_clocks(tmp_path, season):
    meter = Meter(tmp_path, season)
    code, checks = meter.verified(meter.config("7d"), "1h,6h,1d,1w")
    assert code == 0, checks
    assert [name for name in checks if name.startswith("widths")] == ["widths 1h", "widths 6h", "widths 1d", "widths 1w"]
    hours = {"spring": 71, "autumn": 73}[season]
    assert checks["widths 1h"][1] == f"1 table is the same in {hours} shards of 1h and in 3 of 1d"
    assert checks["widths 1w"][1] == "1 table is the same in 2 shards of 1w and in 3 of 1d"  # a week begins as the clocks change


def test_without_a_lookback_it_is_refused_with_the_cut_that_changes_it(tmp_path):
    meter = Meter(tmp_path, "autumn")
    code, checks = meter.verified(meter.config(None), "1w")
    assert code == 1
    ok, detail = checks["widths 1w"]
    assert not ok
    assert detail.startswith("table rolling: a cut at 2026-10-25T23:00:00Z changes it. Without the cut: ")  # midnight in Madrid
    assert '"readings": 25}; with it: ' in detail
    assert '"readings": 1}' in detail


def test_a_lookback_of_168_hours_lacks_one_in_the_week_in_which_the_clocks_go_back(tmp_path):
    meter = Meter(tmp_path, "autumn")
    code, checks = meter.verified(meter.config("168h"), "6h")
    assert code == 1
    assert "a cut at 2026-10-2" in checks["widths 6h"][1]


def test_the_table_is_what_one_query_over_all_of_history_gives(tmp_path):
    meter = Meter(tmp_path, "autumn")
    assert CliRunner().invoke(cli, ["run", str(meter.config("7d"))]).exit_code == 0
    with duckdb.connect(str(tmp_path / "meter.duckdb"), read_only=True) as connection:
        rows = "(SELECT * REPLACE (round(mean_of_a_week, 9) AS mean_of_a_week) FROM {})"
        file = AVERAGE.replace("FROM rows", f"FROM read_csv('{tmp_path / 'meter.csv'}')")
        due = rows.format(f"({file})")
        have = rows.format("(FROM rolling SELECT * EXCLUDE (_shard))")
        for one, other in ((due, have), (have, due)):
            assert connection.execute(f"FROM {one} EXCEPT ALL FROM {other}").fetchall() == []
        assert connection.execute("SELECT count(*) FROM rolling").fetchall() == [(24 * (DAYS_BEFORE + DAYS_AFTER),)]
