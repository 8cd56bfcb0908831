from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe import pipeline as p
from raypipe.config.build import build_pipeline
from raypipe.config.cross_checks import cross_checks
from raypipe.config.document import document_of
from raypipe.config.model import PipelineSection
from raypipe.core.calendar import Width
from raypipe.core.datatype import parse_datatype
from raypipe.core.retry import Retries

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
COLUMNS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
    lambda name: name.lower() != "_shard"
)
SQL = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20).filter(str.strip)
TYPES = st.sampled_from(["int64", "decimal(10,2)", "list<string>", "struct<a: int8, b: list<date>>"]).map(parse_datatype)
NAME_LISTS = st.lists(COLUMNS, min_size=1, max_size=3, unique=True).map(tuple)
MOMENTS = st.integers(-60_000_000_000_000_000, 250_000_000_000_000_000)


def built(kind, **fields):
    return st.builds(kind, **fields)


STEPS = st.one_of(
    built(p.Filter, condition=SQL, name=NAMES),
    built(p.Deduplicate, key=NAME_LISTS, latest_by=st.one_of(st.just(()), NAME_LISTS)),
    built(p.Derive, columns=st.dictionaries(COLUMNS, SQL, min_size=1, max_size=3)),
    built(p.Cast, columns=st.dictionaries(COLUMNS, TYPES, min_size=1, max_size=3)),
    built(p.Rename, columns=st.dictionaries(COLUMNS, COLUMNS, min_size=1, max_size=1)),
    built(
        p.FillNull,
        columns=st.dictionaries(COLUMNS, st.one_of(SQL, st.booleans(), st.integers(-5, 5), st.floats(-1, 1)), min_size=1),
    ),
    built(
        p.Lookup,
        path=st.just("/data/airlines.csv"),
        on=st.dictionaries(COLUMNS, COLUMNS, min_size=1, max_size=2),
        columns=st.dictionaries(COLUMNS, COLUMNS, min_size=1, max_size=2),
        missing=st.sampled_from(["keep", "quarantine", "fail"]),
        as_of=st.one_of(st.none(), COLUMNS),
    ),
    built(p.PythonStep, function=st.just("flights:enrich"), rows=st.sampled_from(["same", "fewer", "more"])),
    built(p.Explode, column=COLUMNS, empty=st.sampled_from(["keep", "drop"])),
    built(p.Flatten, columns=NAME_LISTS),
    built(p.Drop, columns=NAME_LISTS),
    built(p.Select, columns=NAME_LISTS),
)
TIMES = built(
    p.EventTime,
    column=COLUMNS,
    format=st.sampled_from(["iso", "epoch_ms", "%d.%m.%Y"]),
    zone=st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kathmandu"]),
    start_us=MOMENTS,
    end_us=st.none(),
    shard=st.sampled_from([Width(15, "m"), Width(1, "d"), Width(1, "mo")]),
    lateness_us=st.one_of(st.none(), st.integers(0, 10**12)),
    delay_us=st.integers(0, 10**12),
    lookback=st.sampled_from([None, Width(6, "d")]),
    lookahead=st.sampled_from([None, Width(30, "m")]),
)
SOURCES = built(
    p.FilesSource,
    paths=st.just(("/data/*.csv", "/more/[ab].csv.gz")),
    format=st.just("csv"),
    csv=built(
        p.CsvDialect, nulls=st.lists(st.text(max_size=3)).map(tuple), delimiter=st.sampled_from(",;\t"), header=st.just(True)
    ),
    columns=st.dictionaries(COLUMNS, built(p.Column, type=TYPES, required=st.booleans()), min_size=1, max_size=3),
    extra_columns=st.sampled_from(["ignore", "keep", "fail"]),
    on_drift=st.sampled_from(["fail", "evolve", "quarantine"]),
    ready=st.sampled_from([None, p.Ready(files=3), p.Ready(marker="_SUCCESS")]),
    also=st.sampled_from([(), (p.MoreFiles(paths=("/data/*.jsonl",), format="jsonl"),)]),
)
QUALITIES = built(
    p.Quality,
    max_quarantined=st.one_of(st.none(), built(p.MaxQuarantined, share=st.floats(0, 1), at_least=st.integers(0, 9))),
    keep_quarantined_us=st.sampled_from([None, 86_400_000_000]),
    rules=st.just((p.Rule(name="rule_of_test", expect="a > 1", otherwise="warn", nulls="fail"),)),
    checks=st.just((p.Check(table="t0", expect="count(*) > 1", otherwise="warn", on_empty="check"),)),
)
RUNS = built(
    p.RunOptions,
    executor=st.sampled_from(["auto", "inline", "ray"]),
    address=st.sampled_from([None, "ray://head:10001"]),
    memory_bytes=st.integers(1, 2**60),
    cpus_per_shard=st.floats(0.1, 64),
    resources=st.dictionaries(st.sampled_from(["fast_disk", "a:1"]), st.floats(0.1, 8)),
    retries=built(Retries, attempts=st.integers(1, 9), delay_s=st.sampled_from([0.0, 0.5, 3600.0]), factor=st.floats(1, 9)),
    shard_timeout_s=st.sampled_from([0.001, 1800.0]),
)
OUTPUTS = st.lists(SQL, min_size=1, max_size=2).map(
    lambda queries: (
        p.RowsOutput(table="t0", columns={"n": p.OutputColumn(type=parse_datatype("int64"), required=True, unique=True)}),
        *(p.SqlOutput(table=f"t{n}", sql=sql) for n, sql in enumerate(queries, 1)),
    )
)
INPUTS = built(
    p.NamedInput,
    name=st.just("clicks"),
    source=SOURCES.map(lambda source: replace(source, extra_columns="fail")),
    column=COLUMNS,
    lookahead=st.just(Width(1, "h")),
)
PIPELINES = built(
    p.Pipeline,
    name=NAMES,
    description=st.text(max_size=9),
    time=TIMES,
    source=SOURCES,
    quality=QUALITIES,
    transform=st.lists(STEPS, max_size=4, unique_by=lambda step: getattr(step, "name", id(step))).map(tuple),
    inputs=st.lists(INPUTS, max_size=1).map(tuple),
    outputs=OUTPUTS,
    views=st.one_of(st.just(()), SQL.map(lambda sql: (p.View(name="seen", sql=sql),))),
    destination=st.just(p.DuckDBDestination(path="/data/x.duckdb")),
    run=RUNS,
    folder=st.just(Path("/data")),
)


@given(PIPELINES)
@settings(max_examples=80, deadline=None)
def test_every_pipeline_survives_being_written_as_a_document(pipeline):
    document = document_of(pipeline)
    assert list(cross_checks(document)) == []
    assert build_pipeline(PipelineSection.model_validate(document), Path("/data")) == pipeline
