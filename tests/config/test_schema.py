from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from raypipe.config.model import PipelineSection
from raypipe.config.schema import json_schema
from raypipe.config.tree import Place, plain
from raypipe.config.yaml_text import parse

DOCUMENT = """
name: flights
description: all built keys
time:
  {column: t, format: iso, zone: UTC, start: 2013-01-01, end: 2014-01-01, shard: 1d, lateness: unlimited, delay: 0s, lookback: 6d,
   lookahead: 1h}
source:
  kind: files
  path: [a.csv, b.csv.gz]
  format: csv
  csv: {nulls: [NA], delimiter: ",", quote: '"', header: true, encoding: utf-8, multiline: false}
  columns: {t: {type: timestamp, required: true}, d: float64}
  extra_columns: ignore
  on_drift: fail
  ready: {marker: _SUCCESS, files: 1}
  also: [{path: more.jsonl, format: jsonl}]
inputs:
  clicks: {source: {kind: files, path: c.csv, columns: {u: timestamp}}, time: {column: u, lookback: 1h, lookahead: 2h}}
quality:
  keep_quarantined: 90d
  max_quarantined: 0.1%
  rules: [{name: r, expect: d > 1, otherwise: drop, nulls: fail}]
  checks: [{table: a, expect: "count(*) > 0", otherwise: warn, on_empty: check}]
transform:
  - {filter: d > 1, name: f}
  - deduplicate: {key: t, latest_by: [d]}
  - derive: {x: d + 1}
  - cast: {x: "decimal(10,2)"}
  - rename: {x: y}
  - fill_null: {y: 0, d: text, t: 1.5, z: false}
  - lookup: {path: a.csv, on: {d: e}, columns: [f], missing: fail, as_of: since}
  - {python: "m:f", rows: fewer}
  - {explode: a, empty: drop}
  - flatten: [b]
  - drop: a
  - select: [a, b]
outputs:
  - {table: a, sql: SELECT 1, columns: {n: {type: int64, required: true, unique: true}, m: string}}
  - {table: b, rows: all, key: [a], latest_by: [d], delete_when: d > 1}
  - {table: c, group_by: [a], measures: {n: count(*)}}
  - {table: d, view: SELECT 1}
destination: {kind: duckdb, path: x.duckdb}
run:
  {executor: ray, address: null, memory: 2GiB, cpus_per_shard: 0.5, retries: {attempts: 3, delay: 1s, factor: 4},
  shard_timeout: 30m, resources: {disk: 1}}
profiles: {prod: {destination: {path: y.duckdb}}}
"""


@pytest.fixture(scope="module")
def schema():
    return json_schema()


@pytest.fixture
def document():
    return plain(parse(DOCUMENT, lambda line: Place("x", line)).root)


def test_a_document_with_every_key_is_good_by_the_schema_and_by_the_model(schema, document, load):
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert load(DOCUMENT).name == "flights"


def test_the_document_of_this_test_names_every_key_of_the_schema(schema, document):
    def keys(value):
        if isinstance(value, list):
            return set().union(*map(keys, value)) if value else set()
        return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()

    sections = [schema, *schema["$defs"].values()]
    named = {key for section in sections for key in section.get("properties", {})}
    # `share` and `at_least` are the long form of max_quarantined.
    assert named - keys(document) == {"share", "at_least"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["time", "shard"], "5 mins"),
        (["time", "lateness"], "ever"),
        (["source", "kind"], "kafka"),
        (["destination", "kind"], "postgres"),
        (["outputs", 0, "table"], "Big Table"),
        (["outputs", 1, "unique"], ["a"]),
        (["outputs", 0, "columns", "n", "unique"], "yes"),
        (["outputs", 2, "measures"], []),
        (["transform", 0], {"filtre": "a"}),
        (["run", "memory"], 512),
        (["run", "executor"], "dask"),
        (["quality", "max_quarantined"], "lots"),
        (["profiles", "prod", "tim"], {}),
        (["schedule"], "* * * * *"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(schema, document, path, value):
    *way, last = path
    section = document
    for part in way:
        section = section[part]
    section[last] = value
    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def test_the_defaults_of_the_schema_are_written_as_people_write_them(schema):
    run = schema["$defs"]["RunSection"]["properties"]
    assert (run["memory"]["default"], run["shard_timeout"]["default"]) == ("2GiB", "30m")
    assert schema["$defs"]["TimeSection"]["properties"]["delay"]["default"] == "0s"


def test_every_key_has_a_description(schema):
    for section in [schema, *schema["$defs"].values()]:
        for key, one in section.get("properties", {}).items():
            assert one.get("description"), f"{section.get('title')}.{key}"


def test_the_schema_is_plain_json_and_says_where_it_may_not_grow(schema):
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    assert set(PipelineSection.model_fields) <= set(schema["properties"])
    assert yaml.safe_load(yaml.safe_dump(schema)) == schema
