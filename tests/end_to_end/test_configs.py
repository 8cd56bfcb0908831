"""Each pipeline in configs/ runs, gives what its comment says, and leaves nothing to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from raypipe.cli.group import cli

CONFIGS = Path(__file__).parents[2] / "configs"
FLIGHTS_OF_THREE_DAYS = ["--end", "2013-01-04"]

# What each pipeline must give: rows of each table, and rows in quarantine by rule.
EXPECTED = {
    "concatenated": ({"all_orders": 66}, {"type_amount": 1}),
    "clean_orders": ({"clean_orders": 42}, {"type_amount": 1}),
    "csv_dialect": ({"sales": 45, "sales_by_shop": 12}, {}),
    "deduplicate": ({"latest_orders": 53}, {"type_amount": 1}),
    "flights": ({"hourly_delays": 921, "daily_airports": 9, "flights_clean": 2677}, {}),
    "join": ({"impressions": 36}, {"no_event_time": 1}),
    "keyed": ({"orders_now": 18}, {}),
    "late_rows": ({"daily_readings": 9}, {}),
    "lookup": ({"orders_by_country": 26}, {"lookup_country": 2, "type_amount": 1}),
    "lookup_as_of": ({"tax": 6}, {"lookup_country": 3, "type_amount": 1}),
    "measures": ({"countries": 6, "months": 2}, {"type_amount": 1}),
    "nested": ({"sold_items": 24, "cities": 4}, {}),
    "nested_time": ({"page_views": 12}, {"malformed_line": 1, "no_event_time": 1}),
    "open_ended": ({"monthly_orders": 1}, {"type_amount": 1}),
    "python_step": ({"sized_orders": 42}, {"type_amount": 1}),
    "quality": ({"revenue": 27}, {"amount_is_positive": 1, "type_amount": 1}),
    "rolling_average": ({"rolling_amount": 57}, {"type_amount": 1}),
    "sessions": ({"sessions": 9}, {}),
    "several_outputs": ({"orders": 57, "orders_by_day": 7, "best_customers": 14}, {"type_amount": 1}),
    "steps": ({"tidy_orders": 42}, {"cast_amount": 1}),
    "view": ({"countries": 6}, {"type_amount": 1}),
    "weekly_revenue": ({"weekly_revenue": 5, "revenue_by_country": 5}, {}),
    "time_zone": ({"hourly_kwh": 71}, {"no_such_time": 1}),
}

UPSTREAM = {"weekly_revenue": "clean_orders"}
"""Pipelines that read the table of another one."""


def raypipe(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for path in CONFIGS.iterdir():
        if path.suffix in (".yaml", ".py"):
            shutil.copy(path, folder)
    shutil.copytree(CONFIGS / "samples", folder / "samples")
    return folder


def test_every_pipeline_is_expected_to_give_something():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pipeline_gives_what_it_says_and_then_nothing_is_left_to_do(configs, name):
    config = configs / f"{name}.yaml"
    window = FLIGHTS_OF_THREE_DAYS if name == "flights" else []
    tables, quarantined = EXPECTED[name]
    if name in UPSTREAM:
        raypipe("run", configs / f"{UPSTREAM[name]}.yaml")

    assert raypipe("check", config)["problems"] == []
    first = raypipe("run", config, *window)
    second = raypipe("run", config, *window)

    assert first["shards"]["committed"] == first["shards"]["planned"] > 0
    assert {one["name"]: one["rows"] for one in first["tables"]} == tables
    assert {one["rule"]: one["rows"] for one in first["quarantine"]} == quarantined
    assert second["shards"]["planned"] == 0
    assert raypipe("verify", config)["ok"]


def test_a_late_row_is_found_in_the_next_days_file(configs):
    raypipe("run", configs / "late_rows.yaml")

    with duckdb.connect(str(configs / "late_rows.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT day::DATE::TEXT, sum(readings) FROM daily_readings GROUP BY ALL ORDER BY ALL").fetchall()
    assert rows == [("2024-03-01", 78), ("2024-03-02", 78), ("2024-03-03", 72)]


def test_what_a_quality_pipeline_only_warns_of_is_kept_and_told(configs):
    raypipe("run", configs / "quality.yaml")

    document = raypipe("backfill", configs / "quality.yaml", "--shards", "0:7")
    assert document["warnings"] == ["known_country: 2 rows break it and were kept"]
    assert document["filtered"] == {"no_test_orders": 1}


def test_the_starter_of_init_runs(tmp_path):
    raypipe("init", tmp_path / "demo")

    document = raypipe("run", tmp_path / "demo" / "pipeline.yaml")

    assert document["rows"] == {"read": 400, "expanded": 0, "loaded": 377, "filtered": 16, "duplicate": 2, "quarantined": 5}
    assert {one["rule"] for one in document["quarantine"]} == {"malformed_line", "no_event_time", "type_fare", "possible_minutes"}
    assert raypipe("verify", tmp_path / "demo" / "pipeline.yaml")["ok"]
