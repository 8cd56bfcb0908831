from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from raypipe.core.accounts import Accounts
from raypipe.observe.ending import Ending, next_commands, nothing_to_do
from raypipe.observe.summary import summary


def ending(closed, **changes):
    values = {"pipeline": "flights", "run_id": "r1", "executor": "inline, 2 threads", "closed": closed, "command": "flights.yaml"}
    return Ending(**{**values, **changes})


def shown(ended, width=120):
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False, emoji=False).print(summary(ended))
    return stream.getvalue()


def commands(ended):
    return [command for command, _ in next_commands(ended)]


def test_the_summary_accounts_for_every_row(story):
    rows = Accounts(read=1100, expanded=10, loaded=1000, filtered=60, duplicate=20, quarantined=30)
    text = shown(ending(story.closed(rows=rows), filtered={"departed": 60, "unused": 0}, tables={"hourly": 72}))

    words = [" ".join(line.split()) for line in text.splitlines()]
    assert "flights done in 2.00 s, inline, 2 threads (run r1)" in words
    assert "rows read 1,100" in words
    assert "expanded 10 added by Python steps" in words
    assert "loaded 1,000" in words
    assert "filtered 60 departed 60" in words
    assert "duplicate 20" in words
    assert "quarantined 30 set aside with their reasons" in words
    assert "rows/s 550" in words
    assert "table hourly 72 rows in it now" in words
    assert "watermark complete up to 2013-01-05T00:00:00Z" in words


def test_the_summary_tells_how_often_the_input_was_read(story):
    text = shown(ending(story.closed(), bytes_input=8_258_905, bytes_read=8_258_905))

    assert "8.3 MB read of 8.3 MB input (1.00 times)" in text


def test_quarantined_rows_are_shown_by_rule_with_an_escaped_example(story):
    found = [{"rule": "speed", "rows": 4, "error": "\x1b[2Jdistance <= [air_time] * 10"}]
    text = shown(ending(story.closed(rows=Accounts(read=4, quarantined=4)), quarantine=found))

    assert "Quarantined by this run" in text
    assert "\\x1b[2Jdistance <= [air_time] * 10" in text
    assert "\x1b" not in text


def test_many_failures_are_cut_and_counted(story):
    failures = tuple(dataclasses.replace(story.failure(0), error=f"cause {number}") for number in range(25))
    text = shown(ending(story.closed("failed", committed=0, failed=25, planned=25, failures=failures)))

    assert "cause 9" in text
    assert "cause 10" not in text
    assert "and 15 more causes" in text
    assert "25 failed" in text


def test_one_cause_that_breaks_many_shards_is_one_line_with_their_number(story):
    failures = tuple(story.failure(number) for number in range(3))
    text = shown(ending(story.closed("failed", committed=0, failed=3, failures=failures)))

    assert text.count("no such") == 1
    assert "and 2 more shards" in text


def test_warnings_are_told_again_at_the_end(story):
    assert "warning: known_country: 2 rows" in shown(ending(story.closed(), warnings=("known_country: 2 rows",)))


def test_the_summary_fits_a_narrow_terminal(story):
    found = [{"rule": "plausible_delay", "rows": 4, "error": "dep_delay BETWEEN -60 AND 900 " * 9}]
    text = shown(ending(story.closed(failures=(story.failure(0),)), quarantine=found, tables={"hourly_delays": 1}), width=80)

    assert max(len(line) for line in text.split("next:")[0].splitlines()) <= 80


def test_the_commands_that_come_next_follow_from_the_end(story):
    failure = story.failure(0)
    window = story.shards[0].window
    span = "--start 2013-01-01T00:00:00Z --end 2013-01-02T00:00:00Z"

    assert commands(ending(story.closed())) == ["raypipe status flights.yaml"]
    assert commands(ending(story.closed("interrupted"))) == ["raypipe run flights.yaml"]
    assert commands(ending(story.closed("failed", failures=(failure,)))) == ["raypipe run flights.yaml"]
    assert commands(ending(story.closed("failed", failures=(failure,), window=window), backfill=True)) == [
        f"raypipe backfill flights.yaml {span}"
    ]
    shrunk = dataclasses.replace(failure, code="source_shrunk")
    assert commands(ending(story.closed("failed", failures=(shrunk,)))) == [
        "raypipe run flights.yaml", f"raypipe backfill flights.yaml {span} --accept-shrunk",
        f"raypipe accept flights.yaml {span} --shrunk",
    ]  # fmt: skip
    assert commands(ending(story.closed(), quarantine=[{"rule": "speed", "rows": 1}]))[0] == (
        "raypipe quarantine show flights.yaml --rule speed"
    )


def test_nothing_to_do_is_one_line_with_the_watermark(story):
    assert nothing_to_do(ending(story.closed(planned=0))) == "flights: nothing to do; complete up to 2013-01-05T00:00:00Z (2.00 s)"
    assert nothing_to_do(ending(story.closed(planned=0, watermark_us=None))) == "flights: nothing to do (2.00 s)"


def test_shards_that_another_run_did_are_not_said_to_be_left(story):
    others = {"planned": 365, "committed": 0, "skipped": 365}
    assert "365 done by another run meanwhile" in shown(ending(story.closed("done", **others)))
    assert "365 left" in shown(ending(story.closed("interrupted", **others)))
