from __future__ import annotations

import json
import subprocess
import sys

import pytest

from raypipe import launch
from raypipe.launch import CheckReport
from raypipe.ports import Check

VERBS = [
    "init", "check", "sample", "plan", "run", "backfill", "submit", "status", "verify", "compact", "cancel", "gc",
    "schema", "version",
]  # fmt: skip


@pytest.mark.parametrize("verb", [*VERBS, "quarantine", "quarantine list", "quarantine show"])
def test_every_verb_explains_itself_with_an_example(raypipe, verb):
    for flag in ("-h", "--help"):
        result = raypipe(*verb.split(), flag)
        assert result.exit_code == 0
        assert f"raypipe {verb}" in result.stdout.split("Example:")[1]


def test_the_verbs_are_listed_in_the_order_in_which_a_person_meets_them(raypipe):
    text = raypipe("--help").stdout

    places = [text.index(f"\n  {verb} ") for verb in [*VERBS[:8], "quarantine", *VERBS[8:]]]
    assert places == sorted(places)
    assert "...\n" not in text.split("Commands:")[1]  # no summary is cut


def test_an_unknown_verb_is_a_usage_error_that_names_the_nearest(raypipe):
    result = raypipe("bakfill", "pipeline.yaml")

    assert result.exit_code == 2
    assert "Did you mean 'backfill'?" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["run", "--help"], ["rnu"]])
def test_help_version_and_mistakes_load_no_engine(arguments):
    code = f"""
import contextlib, sys
from raypipe.cli.group import cli  # `main` ends the process at once: nothing behind it would be asserted
with contextlib.suppress(SystemExit):
    cli({arguments!r}, prog_name="raypipe")
heavy = {{"polars", "pyarrow", "duckdb", "ray", "rich", "pydantic"}} & set(sys.modules)
assert not heavy, heavy
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_what_launch_needs_for_a_run_is_light_until_the_work_begins():
    code = """
import sys
import raypipe.launch, raypipe.cli.run_one, raypipe.observe.log, raypipe.observe.progress, raypipe.observe.ending
heavy = {"polars", "pyarrow", "duckdb", "ray", "rich", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_plan_gives_the_promised_document(launched, shards, raypipe):
    launched.shards = shards[:2]

    document = json.loads(raypipe("plan", "pipeline.yaml", "--json").stdout)

    assert {"pipeline", "window", "state", "shards"} <= document.keys()
    assert document["window"] == {"start": "2013-01-01T00:00:00Z", "end": "2014-01-01T00:00:00Z"}
    assert document["shards"][0] == {
        "index": 0,
        "start": "2013-01-01T00:00:00Z",
        "end": "2013-01-02T00:00:00Z",
        "reason": "late",
        "estimated_rows": 10,
        "estimated_bytes": 100,
    }


def test_a_long_plan_shows_its_ends_and_counts_the_middle(launched, shards, raypipe):
    launched.shards = shards

    text = raypipe("plan", "pipeline.yaml").stdout

    assert "20 shards to do (1 late, 19 new) in [2013-01-01T00:00:00Z, 2014-01-01T00:00:00Z)" in text
    assert "200 rows; inline, 2 threads; about 2 s; up to 2.1 GB of memory" in text
    assert "8 more" in text
    assert "[2013-01-20T00:00:00Z, 2013-01-21T00:00:00Z)" in text
    assert "[2013-01-10T00:00:00Z, 2013-01-11T00:00:00Z)" not in text


def test_an_empty_plan_says_that_nothing_is_to_do(launched, raypipe):
    assert "flights: nothing to do in [2013" in raypipe("plan", "pipeline.yaml").stdout


def test_status_gives_the_promised_document(launched, raypipe):
    document = json.loads(raypipe("status", "pipeline.yaml", "--json").stdout)

    promised = {"pipeline", "watermark", "coverage", "gaps", "late", "held", "stale", "rows", "tables", "runs"}
    assert promised <= document.keys()
    assert document["watermark"] == "2013-01-04T00:00:00Z"
    assert document["gaps"] == [{"start": "2013-01-04T00:00:00Z", "end": "2013-01-05T00:00:00Z"}]
    assert document["stale"] == [{"start": "2013-01-03T00:00:00Z", "end": "2013-01-04T00:00:00Z", "reason": "outputs.hourly.sql"}]
    assert document["held"] == [{"start": "2013-01-01T00:00:00Z", "end": "2013-01-02T00:00:00Z", "reason": "its input changed"}]
    assert document["waiting"] == [{"start": "2013-01-06T00:00:00Z", "end": "2013-01-07T00:00:00Z"}]
    assert document["other_widths"] == [
        {"start": "2013-01-01T00:00:00Z", "end": "2013-01-04T00:00:00Z", "shards": 1, "tables": ["hourly"]}
    ]
    assert document["tables"] == [{"name": "hourly", "rows": 7}]
    assert document["runs"][0]["state"] == "failed"
    assert document["runs"][0]["ended"] == "2013-01-01T00:00:09Z"


def test_status_shows_what_is_missing_and_escapes_what_came_from_data(launched, raypipe):
    launched.quarantine = [{"rule": "sp\x1b[2Jeed", "rows": 1234, "first": "[a]", "last": None}]

    text = raypipe("status", "pipeline.yaml").stdout

    assert "complete up to 2013-01-04T00:00:00Z" in text
    assert "[2013-01-06T00:00:00Z, 2013-01-07T00:00:00Z): bad \\x1b[31mstep" in text
    assert "10 read = 9 loaded + 0 filtered + 0 duplicate + 1 quarantined" in text
    assert "2 rows of the source before time.start or after time.end" in text
    assert "sp\\x1b[2Jeed" in text
    assert "1,234" in text
    assert "held: late, and older than time.lateness (raypipe backfill --held takes them in): 1" in text
    assert "cut at another width than time.shard, on which hourly may depend" in text
    assert "\x1b" not in text


def test_verify_tells_what_does_not_hold_by_its_exit_code(launched, raypipe):
    assert raypipe("verify", "pipeline.yaml").exit_code == 0

    launched.checks = [*launched.checks, Check("digests", False, "2013-01-04 \x1b[7mdiffers")]
    result = raypipe("verify", "pipeline.yaml")

    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "\\x1b[7mdiffers" in result.stdout
    assert json.loads(raypipe("verify", "pipeline.yaml", "--json").stdout) == {
        "ok": False,
        "checks": [
            {"name": "accounts", "ok": True, "detail": "10 = 9 + 1"},
            {"name": "digests", "ok": False, "detail": "2013-01-04 \x1b[7mdiffers"},
        ],
    }


def test_check_lists_mistakes_on_standard_error_with_exit_code_2(launched, raypipe):
    assert raypipe("check", "pipeline.yaml").stdout == "flights: no mistakes found\n"

    launched.check_report = CheckReport(("outputs.hourly: no column x",), ("first() depends on order",))
    result = raypipe("check", "pipeline.yaml", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"] == ["outputs.hourly: no column x"]
    assert result.stderr == "warning: first() depends on order\nerror: outputs.hourly: no column x\n"


def test_sample_shows_each_stage_and_turns_wide_ones(launched, raypipe):
    wide = [f"c{number} (int64)" for number in range(9)]
    launched.stages = [
        ("source", wide, [list(range(9))], 40), ("filter departed", ["a (string)"], [["x\ty"], [None]], 2),
        ("output", ["b (int8)"], [], 0),
    ]  # fmt: skip

    text = raypipe("sample", "pipeline.yaml").stdout

    assert "source  40 rows" in text
    assert "c8  int64" in text
    assert "x\\ty" in text
    assert "NULL" in text
    assert text.endswith("output  0 rows\n")


def test_sample_as_json_keeps_values(launched, raypipe):
    launched.stages = [("source", ["a"], [[float("nan")], [b"\x00"], [{"b": [1]}]], 3)]

    stage = json.loads(raypipe("sample", "pipeline.yaml", "--json").stdout)["stages"][0]

    assert stage == {"name": "source", "columns": ["a"], "rows": [["nan"], ["00"], [{"b": [1]}]], "rows_in_all": 3}


def test_quarantine_list_counts_by_rule(launched, raypipe):
    assert raypipe("quarantine", "list", "p.yaml").stdout == "flights: nothing is in quarantine\n"

    launched.quarantine = [{"rule": "speed", "rows": 4}]
    assert json.loads(raypipe("quarantine", "list", "p.yaml", "--json").stdout) == {
        "pipeline": "flights",
        "rules": launched.quarantine,
    }


def test_quarantine_without_rows_says_so(launched, raypipe):
    assert raypipe("quarantine", "show", "p.yaml", "--rule", "x").stdout == "flights: no such row is in quarantine\n"


def test_quarantine_show_gives_place_reason_and_row_with_control_characters_escaped(launched, raypipe):
    row = {"rule": "speed", "shard": "2013", "source": "a.csv", "position": 7, "error": "too fast", "raw": "1,\x1b]0;owned\x07\n2"}
    launched.quarantine = [row, row]

    result = raypipe("quarantine", "show", "p.yaml", "--limit", "1")

    assert result.stdout == "speed  2013  a.csv:7\n  too fast\n  1,\\x1b]0;owned\\x07\\n2\n"
    assert result.stderr == "(the first 1; --limit shows more)\n"


def test_cancel_names_the_runs_that_it_stopped(launched, raypipe):
    assert raypipe("cancel", "p.yaml", "r7").stdout == "flights: cancelled r7\n"
    assert json.loads(raypipe("cancel", "p.yaml", "--json").stdout) == {"pipeline": "flights", "cancelled": ["r1"]}


def test_gc_says_what_it_removed(launched, raypipe):
    assert raypipe("gc", "p.yaml").stdout == "flights: removed 3 folders, 4.2 MB\n"


def test_schema_is_json_with_and_without_the_option(launched, raypipe):
    assert json.loads(raypipe("schema").stdout) == json.loads(raypipe("schema", "--json").stdout) == {"title": "raypipe"}


def test_version_names_raypipe_and_its_engines(monkeypatch, raypipe):
    monkeypatch.setattr(launch, "versions", lambda: {"raypipe": "0.1.0", "polars": "2.1.0"})

    assert raypipe("version").stdout == "raypipe 0.1.0\npolars 2.1.0\n"


def test_ctrl_c_ends_any_verb_with_130_and_no_traceback(launched, monkeypatch, raypipe):
    def interrupted(pipeline):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "status", interrupted)

    result = raypipe("status", "p.yaml")

    assert result.exit_code == 130
    assert result.stderr == "error: interrupted; nothing was left half done\n"


def test_ctrl_c_while_an_interrupt_is_told_ends_with_130_too(launched, monkeypatch, raypipe):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "status", interrupted)
    monkeypatch.setattr("raypipe.cli.output.Output.error", interrupted)

    assert raypipe("status", "p.yaml").exit_code == 130


# ---- accept -------------------------------------------------------------------------------------------------


def test_accept_tells_what_was_accepted_and_what_another_run_did_meanwhile(launched, raypipe):
    result = raypipe("accept", "pipeline.yaml", "--stale", "--start", "2013-01-01", "--end", "2013-01-04")

    assert (result.exit_code, result.stdout) == (0, "flights: 2 live ranges accepted\n")
    assert "was left as it is: another run committed it meanwhile" in result.stderr
    assert (launched.asks[-1].start_us, launched.asks[-1].end_us) == (1356994800000000, 1357254000000000)  # days of Madrid
    document = json.loads(raypipe("accept", "pipeline.yaml", "--stale", "--json").stdout)
    assert (document["what"], document["run_id"], len(document["accepted"]), len(document["conflicts"])) == ("stale", "r9", 2, 1)
    assert raypipe("accept", "pipeline.yaml", "--shrunk").stdout == "flights: nothing is shrunk\n"


@pytest.mark.parametrize("options", [[], ["--stale", "--shrunk"]])
def test_accept_needs_to_be_told_what_is_fine(launched, raypipe, options):
    result = raypipe("accept", "pipeline.yaml", *options)
    assert result.exit_code == 2
    assert "say what is fine in exactly one way: --stale or --shrunk" in result.stderr
    assert launched.asks == []


# ---- compact ------------------------------------------------------------------------------------------------


def test_compact_tells_what_became_one_what_others_did_meanwhile_and_what_stays(launched, raypipe):
    result = raypipe("compact", "pipeline.yaml", "--before", "2013-01-10", "--into", "1w")

    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "flights: 3 live ranges were made one: [2013-01-01T00:00:00Z, 2013-01-04T00:00:00Z)",
            "flights: hourly is kept from 1,500 rows of contributions there, where there were 4,000",
        ],
    )
    assert "warning: [2013-01-04T00:00:00Z, 2013-01-06T00:00:00Z) was left as it was" in result.stderr
    assert "[2013-01-10T00:00:00Z, 2013-01-11T00:00:00Z) stays as it is: hourly has nothing there yet" in result.stderr


def test_compact_with_a_dry_run_tells_all_that_would_become_one(launched, raypipe):
    text = raypipe("compact", "pipeline.yaml", "--before", "2013-01-10", "--dry-run").stdout
    assert [line.split(": ")[1] for line in text.splitlines()] == [
        "3 live ranges would be made one",
        "2 live ranges would be made one",
    ]


def test_compact_as_json_has_all_ranges(launched, raypipe):
    document = json.loads(raypipe("compact", "pipeline.yaml", "--before", "2013-01-10", "--json").stdout)
    assert [one["ranges"] for one in document["planned"]] == [3, 2]
    assert document["compacted"] == [{"start": "2013-01-01T00:00:00Z", "end": "2013-01-04T00:00:00Z"}]
    assert (len(document["conflicts"]), len(document["left"]), document["run_id"]) == (1, 1, "r9")
    assert document["contributions"] == [{"table": "hourly", "before": 4000, "after": 1500}]


@pytest.mark.parametrize(
    ("options", "code"), [((), 2), (("--before", "soon"), 2), (("--before", "2013-01-10", "--into", "1d,1w"), 2)]
)
def test_compact_needs_a_time_and_takes_one_width(launched, raypipe, options, code):
    assert raypipe("compact", "pipeline.yaml", *options).exit_code == code
