from __future__ import annotations

import dataclasses
import json

from raypipe.core.events import Planned, ScanStarted, Warned
from raypipe.observe.log import LISTED_MAX, Log, as_document


def test_each_event_is_a_json_line_and_those_before_the_run_had_a_name_come_first(story, clock, tmp_path):
    log = Log(tmp_path / "logs", clock)
    for event in [ScanStarted(1, 1000), *story.whole()]:
        log.on(event)
    log.close()

    documents = [json.loads(line) for line in (tmp_path / "logs" / "r1.jsonl").read_text().splitlines()]
    assert [one["event"] for one in documents][:3] == ["ScanStarted", "Planned", "RunOpened"]
    assert {one["at"] for one in documents} == {"2013-01-01T00:00:00Z"}
    assert documents[-1]["rows"]["loaded"] == 400
    assert documents[-1]["watermark"] == "2013-01-05T00:00:00Z"


def test_a_run_that_is_taken_over_goes_on_in_the_same_file(story, clock, tmp_path, recwarn):
    log = Log(tmp_path / "logs", clock)
    for event in [story.opened(), Warned("the driver's process died"), story.opened()]:
        log.on(event)
    log.close()

    documents = [json.loads(line) for line in (tmp_path / "logs" / "r1.jsonl").read_text().splitlines()]
    assert [one["event"] for one in documents] == ["RunOpened", "Warned", "RunOpened"]
    assert [str(one.message) for one in recwarn if one.category is ResourceWarning] == []


def test_a_commit_tells_windows_outcomes_and_rows(story):
    document = as_document(story.committed(0), 0)

    assert document["receipt"]["outcomes"] == {"[2013-01-01T00:00:00Z, 2013-01-02T00:00:00Z)": "loaded"}
    assert document["results"][0]["start"] == "2013-01-01T00:00:00Z"
    assert document["results"][0]["outputs"] == {"hourly": 5}
    json.dumps(document)


def test_failures_keep_their_code_and_text_and_control_characters_are_escaped_by_json(story):
    document = as_document(story.ended(1, failures=(story.failure(0),)), 0)

    assert document["failures"][0]["code"] == "transform_failed"
    assert "\x1b" not in json.dumps(document)


def test_a_huge_plan_is_counted_and_not_listed(story):
    document = as_document(Planned(story.shards * LISTED_MAX), 0)

    assert document["shards_count"] == 4 * LISTED_MAX
    assert "shards" not in document


def test_of_many_results_those_are_listed_that_have_something_to_tell(story):
    event = story.committed(0)
    (plain,) = event.results
    odd = dataclasses.replace(plain, broken={"positive": 2})
    document = as_document(dataclasses.replace(event, results=(plain,) * LISTED_MAX + (odd,)), 0)

    assert document["results_count"] == LISTED_MAX + 1
    assert [one["broken"] for one in document["results"]] == [{"positive": 2}]
    assert document["rows"]["read"] == (LISTED_MAX + 1) * plain.accounts.read > 0


def test_a_run_id_cannot_leave_the_folder(story, clock, tmp_path):
    log = Log(tmp_path / "logs", clock)
    log.on(dataclasses.replace(story.opened(), run_id="../../etc/x"))
    log.on(Warned("y"))
    log.close()

    assert [path.name for path in tmp_path.rglob("*.jsonl")] == ["_.._etc_x.jsonl"]
    assert (tmp_path / "logs" / "_.._etc_x.jsonl").exists()


def test_a_log_without_a_run_writes_nothing(clock, tmp_path):
    log = Log(tmp_path / "logs", clock)
    log.on(Warned("x"))
    log.close()

    assert list(tmp_path.iterdir()) == []
