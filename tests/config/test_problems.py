# ruff: noqa: E501 (one mistake a line: what is written, and what is told)
"""Every kind of mistake has its line, key path, got, expected and remedy, in the words of raypipe."""

from __future__ import annotations

import pytest

from raypipe.core.merge import known_measures

GOOD = """\
name: rides
time:
  column: at
  start: 2024-05-01
  shard: 1d
source:
  kind: files
  path: rides.csv
  columns: {at: timestamp, fare: float64}
outputs:
- table: rides_clean
  rows: all
destination:
  kind: duckdb
  path: rides.duckdb
"""


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def added(text: str) -> str:
    return GOOD + text


def joined(name: str, source: str, time: str = "{column: a}") -> str:
    """A pipeline with an input and SQL that may see it."""
    return changed("rows: all", "sql: SELECT 1") + f"inputs: {{{name}: {{source: {{kind: files, {source}}}, time: {time}}}}}\n"


STEPS = "filter, deduplicate, derive, cast, rename, fill_null, lookup, python, explode, flatten, drop, select"
NAME = "a name of a-z, 0-9 and _ that starts with a letter and has at most 63 characters"
DATE = "a date such as 2013-01-01 or a time such as 2013-01-01T06:00 or 2013-01-01T06:00:00Z"

CASES = [
    # names
    (changed("name: rides\n", "name: Daily Rides\n"), f'1: name: got "Daily Rides", expected {NAME}; did you mean "daily_rides"?'),
    (changed("name: rides\n", "name: _x\n"), f'1: name: got "_x", expected {NAME}; did you mean "x"?'),
    (changed("name: rides\n", "name: 5\n"), '1: name: got 5, expected text; quote it: "5"'),
    (changed("name: rides\n", "name:\n"), '1: name: got nothing, expected text; null is a word here only in quotes: "null"'),
    (changed("name: rides\n", f"name: {'a' * 64}\n"), f'1: name: got "{"a" * 64}", expected {NAME}; did you mean "{"a" * 63}"?'),
    (changed("table: rides_clean", "table: _raypipe"), f'11: outputs.0.table: got "_raypipe", expected {NAME}; did you mean "raypipe"?'),
    (changed("table: rides_clean", "table: 'x\"; DROP TABLE y; --'"), f'11: outputs.0.table: got "x\\"; DROP TABLE y; --", expected {NAME}; did you mean "x_drop_table_y"?'),
    (changed("table: rides_clean", "table: ../x"), f'11: outputs.0.table: got "../x", expected {NAME}; did you mean "x"?'),
    # keys
    (changed("  shard: 1d", "  shrad: 1d"), '5: time.shrad: unknown key; did you mean "shard"? Known keys: column, format, zone, start, end, shard, lateness, delay, lookback, lookahead'),
    (changed("  shard: 1d\n", ""), "2: time.shard: missing, expected: Width of a shard; days and longer follow the zone's calendar"),
    (changed("name: rides\n", ""), "1: name: missing, expected: The pipeline's identity in the ledger"),
    (added("schedule: '* * * * *'\n"), "16: schedule: unknown key; known keys: name, description, time, source, inputs, quality, transform, outputs, destination, run, profiles"),
    (changed("  shard: 1d", "  shard: 1d\n  lateness: ever"), '6: time.lateness: got "ever", expected unlimited, or a duration such as 30s, 5m, 1h, 1d, 1w or 1mo'),
    (changed("  kind: files", "  kind: files\n  ready: {marker: done/_SUCCESS}"), '8: source.ready.marker: got "done/_SUCCESS", expected the name of a file, without a folder, such as _SUCCESS'),
    (changed("  shard: 1d", "  shard: 1d\n  lookback: 6 days"), '6: time.lookback: got "6 days", expected a time such as 30m, 6h or 7d, in whole minutes or more, or 0s for none; did you mean "6d"?'),
    (changed("  shard: 1d", "  shard: 1d\n  lookahead: 90s"), '6: time.lookahead: got "90s", expected a time such as 30m, 6h or 7d, in whole minutes or more, or 0s for none'),
    (changed("  rows: all", "  rows: all\n  unique: [a]"), "13: outputs.0.unique: unknown key; known keys: table, rows, key, latest_by, delete_when, columns"),
    (changed("  rows: all", "  rows: all\n  columns: {a: {type: int64, uniqe: true}}"), '13: outputs.0.columns.a.uniqe: unknown key; did you mean "unique"? Known keys: type, required, unique'),
    (changed("  rows: all", "  rows: all\n  key: [at, a]\n  columns: {a: {type: int64, unique: true}}"), "14: outputs.0.columns.a.unique: got true, expected false, or `key: a` alone: over all of history a table of this kind is unique by its key"),
    (changed("  rows: all", "  group_by: [b]\n  measures: {n: count(*)}\n  columns: {n: {type: int64, unique: true}}"), "14: outputs.0.columns.n.unique: got true, expected false, or `group_by: n` alone: over all of history a table of this kind is unique by its group_by"),
    (changed("  rows: all", "  rows: all\n  latest_by: [a]"), "13: outputs.0.latest_by: expected the key `key` beside it: without one, all rows stay"),
    (changed("  rows: all", "  group_by: [a]\n  measures: {n: mode(x)}"), f'13: outputs.0.measures.n: got "mode(x)", expected one of {known_measures()}'),
    (changed("  rows: all", "  group_by: [a]\n  measures: {A: count(*)}"), '13: outputs.0.measures.A: got "count(*)", expected another name: a group or measure has this one already, at outputs.0.group_by.0'),
    (changed("  rows: all", "  sql: SELECT 1\n  column: {}"), '13: outputs.0.column: unknown key; did you mean "columns"? Known keys: table, sql, columns'),
    (changed("columns: {at: timestamp,", "columns: {at: {type: timestamp, requird: true},"), '9: source.columns.at.requird: unknown key; did you mean "required"? Known keys: type, required'),
    (added("run: {retries: {attempt: 3}}\n"), '16: run.retries.attempt: unknown key; did you mean "attempts"? Known keys: attempts, delay, factor'),
    (added("transform: [{lookup: {path: a.csv, on: a, column: [b]}}]\n"), '16: transform.0.lookup.column: unknown key; did you mean "columns"? Known keys: path, on, columns, missing, as_of'),
    # further inputs, and files that are put together
    (joined("rows", "path: c.csv, columns: {a: int64}"), "16: inputs.rows: expected another name: `rows` are the rows of the source"),
    (joined("Clicks", "path: c.csv, columns: {a: int64}"), f'16: inputs.Clicks: got the key "Clicks", expected {NAME}'),
    (joined("clicks", "path: c.csv, columns: {a: int64}}, time: {column: a}}, clicks: {source: {kind: files, path: d.csv, columns: {a: int64}"), '16: inputs.clicks: the key stands twice; the first is at daily.yaml:16'),
    (joined("clicks", "path: c.parquet"), "16: inputs.clicks.source.columns: missing, expected the columns that SQL sees of the input, and their types"),
    (joined("clicks", "path: c.parquet, csv: {}, columns: {a: int64}"), "16: inputs.clicks.source.csv: the files are parquet; expected this key for csv files only"),
    (joined("clicks", "path: c, columns: {a: int64}"), '16: inputs.clicks.source.path: got "c", expected a suffix that tells the one format of the files (one of .parquet, .csv, .jsonl, .ndjson), or the key format beside it'),
    (joined("clicks", "path: c.csv, columns: {a: int64}, extra_columns: keep"), '16: inputs.clicks.source.extra_columns: got "keep", expected ignore or fail: SQL sees the columns that the contract names'),
    (joined("clicks", "path: c.csv, columns: {a: int64}", "{column: a, lookahed: 1h}"), '16: inputs.clicks.time.lookahed: unknown key; did you mean "lookahead"? Known keys: column, format, lookback, lookahead'),
    (joined("clicks", "path: c.csv, columns: {a: int64}", "{column: a, lookback: 1 hour}"), '16: inputs.clicks.time.lookback: got "1 hour", expected a time such as 30m, 6h or 7d, in whole minutes or more, or 0s for none; did you mean "1h"?'),
    (joined("clicks", "path: c.csv, columns: {a: int64}").replace("kind: files, path: c.csv", "kind: table, table: c"), '16: inputs.clicks.source.kind: got "table", expected a known kind: files'),
    (joined("clicks", "path: c.csv, columns: {a: int64}").replace("kind: files\n  path: rides.csv", "kind: table\n  path: o.duckdb\n  table: t"), "17: inputs: expected a source of kind files beside them: a pipeline that reads a table has no further inputs"),
    (joined("clicks", "path: c.csv, columns: {a: int64}").replace("sql: SELECT 1", "rows: all"), "16: inputs: expected an output with `sql`: no other kind of output sees them"),
    (changed("  columns:", "  also: [{path: more}]\n  columns:"), '9: source.also.0.path: got "more", expected a suffix that tells the one format of the files (one of .parquet, .csv, .jsonl, .ndjson), or the key format beside it'),
    (joined("clicks", "path: 'package:no_such_thing/c.csv', columns: {a: int64}"), '16: inputs.clicks.source.path: got "package:no_such_thing/c.csv", expected a package that is installed; no_such_thing is not: pip install no_such_thing'),
    (changed("  columns:", "  also: [{path: more.jsonl, columns: {}}]\n  columns:"), '9: source.also.0.columns: unknown key; known keys: path, format, csv'),
    (changed("path: rides.csv\n  columns: {at: timestamp, fare: float64}", "path: rides.parquet\n  also: [{path: more.jsonl}]"), "6: source.columns: missing, expected the columns that are read and their types: jsonl files do not tell them"),
    # kinds
    (changed("kind: files", "kind: kafka"), '7: source.kind: got "kafka", expected a known kind: files, table'),
    (changed("kind: files", "kind: file"), '7: source.kind: got "file", expected a known kind: files, table; did you mean "files"?'),
    (changed("  kind: files\n", ""), "6: source.kind: missing, expected: Where events come from"),
    (changed("kind: duckdb", "kind: postgres"), '14: destination.kind: got "postgres", expected a known kind: duckdb'),
    (changed("kind: duckdb", "kind: 7"), "14: destination.kind: got 7, expected a known kind: duckdb"),
    (changed("  rows: all", "  shape: SELECT 1"), "11: outputs.0: expected one of the keys sql, rows, group_by, view; the keys here are: table, shape"),
    (changed("  rows: all", "  view: SELECT 1"), "10: outputs: expected an output beside the views: a view is SQL over the tables of the others"),
    (changed("  rows: all", "  rows: all\n- {table: seen, view: FROM rides_clean}\nquality: {checks: [{table: seen, expect: count(*) > 0}]}"), '14: quality.checks.0.table: got "seen", expected a table of the outputs: rides_clean'),
    (changed("  rows: all", "  rows: all\n  sql: SELECT 1"), "11: outputs.0: expected one kind of output an item; this one has sql and rows"),
    (changed("  rows: all", "  rows: some"), '12: outputs.0.rows: got "some", expected all'),
    (added("transform: [{filtre: a > 1}]\n"), f'16: transform.0: expected one of the keys {STEPS}; the keys here are: filtre; did you mean "filter"?'),
    (added("transform: [filter]\n"), f'16: transform.0: got "filter", expected keys and values with one of the keys {STEPS}; did you mean "filter"?'),
    (added("transform: [{drop: a, select: b}]\n"), "16: transform.0: expected one step an item; this one has drop and select"),
    (added("transform:\n- filter: a\n- {}\n"), f"18: transform.1: expected one of the keys {STEPS}; the keys here are: none"),
    (added("transform: [{filter: a, rows: same}]\n"), "16: transform.0.rows: unknown key; known keys: filter, name"),
    # shapes
    (changed("time:\n  column: at\n  start: 2024-05-01\n  shard: 1d", "time: 1d"), '2: time: got "1d", expected keys and values'),
    (changed("outputs:\n- table: rides_clean\n  rows: all", "outputs: []"), "10: outputs: got a list, expected at least one entry"),
    (changed("outputs:\n- table: rides_clean\n  rows: all", "outputs: {a: 1}"), "10: outputs: got keys and values, expected a list"),
    (changed("columns: {at: timestamp, fare: float64}", "columns: [a]"), "9: source.columns: got a list, expected keys and values"),
    (added("transform:\n"), "16: transform: got nothing, expected a list"),
    (added("transform: [{derive: {}}]\n"), "16: transform.0.derive: got keys and values, expected at least one entry"),
    (added("transform: [{drop: []}]\n"), "16: transform.0.drop: got a list, expected at least one entry"),
    (added("transform: [{drop: [a, b, a]}]\n"), '16: transform.0.drop.2: got "a", expected each once; this one stands twice'),
    (added("transform: [{drop: [1]}]\n"), '16: transform.0.drop.0: got 1, expected text; quote it: "1"'),
    (added("transform: [{filter: true}]\n"), '16: transform.0.filter: got true, expected text; quote it: "true"'),
    (added("transform: [{filter: ' '}]\n"), '16: transform.0.filter: got " ", expected SQL of 1 to 100000 characters'),
    (added("transform: [{fill_null: {a: null}}]\n"), "16: transform.0.fill_null.a: got nothing, expected a constant: text, a number of at most 64 bits, true or false"),
    (added("transform: [{fill_null: {a: .nan}}]\n"), "16: transform.0.fill_null.a: got nan, expected a constant: text, a number of at most 64 bits, true or false"),
    (added("transform: [{rename: {a: [b]}}]\n"), "16: transform.0.rename.a: got a list, expected text"),
    (added("transform: [{rename: {a: c, b: c}}]\n"), '16: transform.0.rename.b: got "c", expected another name: a column has this one already, at transform.0.rename.a'),
    (added("transform: [{derive: {_SHARD: a}}]\n"), '16: transform.0.derive._SHARD: got the key "_SHARD", expected another name: _shard is the column that raypipe adds to tables'),
    (added("transform: [{derive: {'': a, b: c}}]\n"), "16: transform.0.derive: a key is empty"),
    (added("transform: [{lookup: {path: a.csv, on: [a, a], columns: b}}]\n"), '16: transform.0.lookup.on.1: got "a", expected each once; this one stands twice'),
    (added("transform: [{drop: ' '}]\n"), '16: transform.0.drop: got " ", expected the name of a column: 1 to 255 characters on one line'),
    (added("transform: [{lookup: {path: a.csv, on: 5, columns: b}}]\n"), "16: transform.0.lookup.on: got 5, expected keys and values"),
    # single values
    (changed("shard: 1d", "shard: 5 mins"), '5: time.shard: got "5 mins", expected a width such as 15m, 1h, 1d, 1w or 1mo; did you mean "5m"?'),
    (changed("shard: 1d", "shard: 15"), "5: time.shard: got 15, expected a width such as 15m, 1h, 1d, 1w or 1mo"),
    (changed("shard: 1d", "shard: 1d\n  delay: 0"), "6: time.delay: got 0, expected a duration such as 30s, 5m, 1h, 1d, 1w or 1mo"),
    (changed("shard: 1d", "shard: 1d\n  zone: Europe/Madird"), '6: time.zone: got "Europe/Madird", expected a time zone such as UTC or Europe/Madrid; did you mean "Europe/Madrid"?'),
    (changed("shard: 1d", "shard: 1d\n  zone: ../../etc/passwd"), '6: time.zone: got "../../etc/passwd", expected a time zone such as UTC or Europe/Madrid'),
    (changed("shard: 1d", "shard: 1d\n  format: epoch_sec"), '6: time.format: got "epoch_sec", expected one of iso, epoch_s, epoch_ms, epoch_us, or a strptime pattern such as %d.%m.%Y %H:%M; did you mean "epoch_s"?'),
    (changed("2024-05-01", "yesterday"), f'4: time.start: got "yesterday", expected {DATE}'),
    (changed("2024-05-01", "2024-02-30"), f'4: time.start: got "2024-02-30", expected {DATE} (day is out of range for month)'),
    (changed("2024-05-01", "0001-01-01"), f'4: time.start: got "0001-01-01", expected {DATE}, between the years 2 and 9998'),
    (changed("2024-05-01", "20240501"), '4: time.start: got 20240501, expected text; quote it: "20240501"'),
    (changed("2024-05-01", "2024-05-01\n  end: 2024-05-01"), '5: time.end: got "2024-05-01", expected a time after time.start'),
    (changed("2024-05-01", "2024-05-01\n  end: soon"), f'5: time.end: got "soon", expected {DATE}'),
    (changed("path: rides.csv", "path: rides"), '8: source.path: got "rides", expected a suffix that tells the format (one of .parquet, .csv, .jsonl, .ndjson, with or without .gz, .zst, .zip), or the key source.format'),
    (changed("path: rides.csv", "path: [a.csv, b.parquet]"), "8: source.path: the files have several formats (csv, parquet); expected files of one format, or the key source.format"),
    (changed("  columns: {at: timestamp, fare: float64}\n", ""), "6: source.columns: missing, expected the columns that are read and their types: csv files do not tell them"),
    (changed("  columns:", "  format: xlsx\n  columns:"), '9: source.format: got "xlsx", expected one of parquet, csv, jsonl'),
    (changed("  columns:", "  on_drift: evolv\n  columns:"), '9: source.on_drift: got "evolv", expected one of fail, evolve, quarantine; did you mean "evolve"?'),
    (changed("  columns:", "  format: parquet\n  csv: {}\n  columns:"), "10: source.csv: the files are parquet; expected this key for csv files only"),
    (changed("  columns:", "  csv: {delimiter: '||'}\n  columns:"), '9: source.csv.delimiter: got "||", expected one character, such as ";" or "\\t"'),
    (changed("  columns:", "  csv: {quote: ''}\n  columns:"), '9: source.csv.quote: got "", expected one character, such as ";" or "\\t"'),
    (changed("  columns:", "  csv: {quote: ','}\n  columns:"), '9: source.csv.quote: got ",", expected another character than the delimiter'),
    (changed("  columns:", "  csv: {encoding: utf-88}\n  columns:"), '9: source.csv.encoding: got "utf-88", expected an encoding that Python knows, such as utf-8 or latin-1'),
    (changed("  columns:", "  csv: {encoding: base64}\n  columns:"), '9: source.csv.encoding: got "base64", expected an encoding of text, such as utf-8 or latin-1'),
    (changed("  columns:", "  csv: {header: on}\n  columns:"), '9: source.csv.header: got "on", expected true or false'),
    (changed("  columns:", "  csv: {nulls: [-999]}\n  columns:"), '9: source.csv.nulls.0: got -999, expected text; quote it: "-999"'),
    (changed("column: at", "column: when\n  format: iso") .replace("  columns:", "  csv: {header: false}\n  columns:"), '3: time.column: got "when", expected one of at, fare: a file without a header has the columns of the contract'),
    (added("run: {memory: 512}\n"), "16: run.memory: got 512, expected a size such as 512MB or 2GiB"),
    (added("run: {memory: 2gb}\n"), '16: run.memory: got "2gb", expected a size such as 512MB or 2GiB; did you mean "2GB"?'),
    (added("run: {shard_timeout: 0s}\n"), '16: run.shard_timeout: got "0s", expected a duration such as 30s, 5m, 1h, 1d, 1w or 1mo, more than 0s'),
    (added("run: {cpus_per_shard: 0}\n"), "16: run.cpus_per_shard: got 0, expected more than 0"),
    (added("run: {cpus_per_shard: .inf}\n"), "16: run.cpus_per_shard: got inf, expected a finite number"),
    (
        added("run: {resources: {gpu: 1}}\n"),
        '16: run.resources.gpu: got the key "gpu", expected the name of a custom resource; CPUs are run.cpus_per_shard, memory is run.memory',
    ),
    (added("run: {resources: {disk: 0}}\n"), "16: run.resources.disk: got 0, expected more than 0"),
    (added("run: {cpus_per_shard: two}\n"), '16: run.cpus_per_shard: got "two", expected a number'),
    (added("run: {retries: {attempts: 0}}\n"), "16: run.retries.attempts: got 0, expected at least 1"),
    (added("run: {retries: {attempts: 1.5}}\n"), "16: run.retries.attempts: got 1.5, expected a whole number"),
    (added("run: {retries: {attempts: true}}\n"), "16: run.retries.attempts: got true, expected a whole number"),
    (added("run: {retries: {factor: 1000}}\n"), "16: run.retries.factor: got 1000, expected at most 100"),
    (added("run: {address: ''}\n"), '16: run.address: got "", expected text that is not empty'),
    (added("run: {executor: dask}\n"), '16: run.executor: got "dask", expected one of auto, inline, ray'),
    (added("transform: [{python: enrich}]\n"), '16: transform.0.python: got "enrich", expected module:function, such as flights:enrich for the function enrich of flights.py beside the configuration'),
    (added("quality: {max_quarantined: 110%}\n"), '16: quality.max_quarantined: got "110%", expected a share between 0 and 1, such as 0.1% or 0.001'),
    (added("quality: {max_quarantined: {share: 1.5}}\n"), "16: quality.max_quarantined.share: got 1.5, expected a share between 0 and 1, such as 0.1% or 0.001"),
    (added("quality: {max_quarantined: {at_least: -1}}\n"), "16: quality.max_quarantined.at_least: got -1, expected at least 0"),
    (added("quality: {max_quarantined: true}\n"), "16: quality.max_quarantined: got true, expected keys and values"),
    # between keys
    (added("quality: {checks: [{table: ride_clean, expect: '1'}]}\n"), '16: quality.checks.0.table: got "ride_clean", expected a table of the outputs: rides_clean; did you mean "rides_clean"?'),
    (added("quality: {rules: [{name: a, expect: '1'}, {name: a, expect: '2'}]}\n"), '16: quality.rules.1.name: got "a", expected another name: a rule or filter has this one already, at quality.rules.0.name'),
    (added("quality: {rules: [{name: filter_1, expect: '1'}]}\ntransform: [{filter: a}]\n"), '17: transform.0.filter: without a name it is called "filter_1", which is taken by quality.rules.0.name; expected a name'),
    (changed("- table: rides_clean", "- {table: rides_clean, rows: all}\n- table: rides_clean"), '12: outputs.1.table: got "rides_clean", expected another name: a table has this one already, at outputs.0.table'),
]  # fmt: skip


def test_the_starting_point_of_these_cases_is_valid(load):
    assert load(GOOD).name == "rides"


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[case[1] for case in CASES])
def test_a_mistake_is_told_with_line_path_got_expected_and_remedy(problem, text, expected):
    assert problem(text) == f"daily.yaml:{expected}"


@pytest.mark.parametrize(
    ("word", "nearest"), [("float", "float64"), ("Text", "string"), ("int46", "int64"), ("timestmp", "timestamp")]
)
def test_a_wrong_type_lists_the_types_and_the_nearest(problem, word, nearest):
    told = problem(changed("float64}", word + "}"))
    assert told.startswith(f'daily.yaml:9: source.columns.fare: got "{word}", expected a type: int8, int16, ')
    assert told.endswith(f'decimal(p,s), list<T> or struct<name: T>; did you mean "{nearest}"?')


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(problems):
    text = changed("name: rides", "name: Rides").replace("1d", "1x").replace("kind: duckdb", "kind: duckdb\n  kind: duckdb")
    found = problems(text + "transform: [{filter: f(a, b)}]\nrun: {retries: 3}\n")
    assert [one.split(": ")[:2] for one in found] == [
        ["daily.yaml:1", "name"],
        ["daily.yaml:5", "time.shard"],
        ["daily.yaml:15", "destination.kind"],
        ["daily.yaml:17", "transform.0.filter"],
        ["daily.yaml:18", "run.retries"],
    ]


def test_two_wrong_items_and_what_stands_between_keys_are_told_together(problems, small):
    small["outputs"] = [{"table": "a", "rows": "all"}, {"table": "a", "rows": "all"}, {"table": "B", "rows": "all"}]
    small["time"]["end"] = "2001-01-01"
    assert [one.split(": ")[1] for one in problems(small)] == ["time.end", "outputs.1.table", "outputs.2.table"]


def test_a_long_value_is_cut_and_control_characters_are_escaped(problem, small):
    small["name"] = "\x1b[31m" + "x" * 5000
    told = problem(small)
    assert "\x1b" not in told
    assert len(told) < 400
    assert '"\\u001b[31mxxx' in told


def test_a_key_with_control_characters_is_escaped(problem, small):
    small["\x1b[2Jname\u202e"] = 1
    told = problem(small)
    assert "\x1b" not in told
    assert "\u202e" not in told


@pytest.mark.parametrize("junk", [None, True, 7, 1.5, "text", [], {}, [1], {"a": 1}, [[]], [{"a": None}], {"kind": []}])
@pytest.mark.parametrize("key", ["name", "time", "source", "quality", "transform", "outputs", "destination", "run", "profiles"])
def test_anything_at_any_key_is_told_in_words_of_raypipe_and_never_crashes(load, small, key, junk):
    from raypipe.errors import ConfigurationError

    small[key] = junk
    try:
        load(small)
    except ConfigurationError as error:
        text = "\n".join(error.problems)
        for jargon in ("pydantic", "Input should", "validation error", "dict", "str ", "NoneType", "Section", "another value"):
            assert jargon not in text, text
