from __future__ import annotations

import duckdb
import pytest

from perf.canonical import WrongAnswer, pipeline_text, require_equal
from perf.events import Shape, make_events
from raypipe import load, run


@pytest.fixture
def answer(tmp_path):
    def make(name, rows):
        path = tmp_path / f"{name}.duckdb"
        with duckdb.connect(str(path)) as connection:
            columns = "hour TIMESTAMP, region VARCHAR, event_type VARCHAR, events BIGINT, amount DOUBLE, users BIGINT"
            connection.execute(f"CREATE TABLE hourly ({columns})")
            connection.executemany("INSERT INTO hourly VALUES ('2026-01-01', 'R1', ?, 1, ?, 1)", rows)
        return path

    return make


def test_the_same_rows_in_another_order_are_the_same_answer(answer):
    require_equal({"a": answer("a", [("view", 1.0), ("buy", 2.0)]), "b": answer("b", [("buy", 2.0), ("view", 1.0)])})


@pytest.mark.parametrize("rows", [[("view", 1.0)], [("view", 1.0), ("view", 1.0), ("buy", 2.0)], [("view", 1.5), ("buy", 2.0)]])
def test_a_lost_doubled_or_changed_row_is_a_wrong_answer(answer, rows):
    answers = {"a": answer("a", [("view", 1.0), ("buy", 2.0)]), "b": answer("b", rows)}
    with pytest.raises(WrongAnswer, match="b answers otherwise than a"):
        require_equal(answers)
    with pytest.raises(WrongAnswer, match="a answers otherwise than b"):
        require_equal(dict(reversed(answers.items())))


def test_either_kind_of_output_gives_the_answer_of_plain_sql(tmp_path):
    events = make_events(tmp_path, Shape(rows=3_000, days=3))
    answers = {}
    for output in ("sql", "group_by"):
        answers[output] = tmp_path / f"{output}.duckdb"
        config = tmp_path / f"{output}.yaml"
        config.write_text(pipeline_text(events, answers[output], output=output))
        assert run(load(config), executor="inline").closed.status == "done"
    answers["plain"] = tmp_path / "plain.duckdb"
    with duckdb.connect(str(answers["plain"])) as connection:
        connection.execute(
            f"""CREATE TABLE hourly AS
                SELECT date_trunc('hour', ts) AS hour, region, event_type, count(*) AS events, sum(amount) AS amount,
                    count(DISTINCT user_id) AS users
                FROM (SELECT DISTINCT * FROM '{events.folder}/events-*.parquet')
                JOIN '{events.folder}/countries.csv' USING (country)
                WHERE amount >= 0 GROUP BY ALL"""
        )
    require_equal(answers)
