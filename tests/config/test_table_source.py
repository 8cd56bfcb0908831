"""`source: {kind: table}` in a configuration: what it may say, and how mistakes are told."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from raypipe.config.document import document_of
from raypipe.config.load import load_pipeline
from raypipe.config.schema import json_schema
from raypipe.core.datatype import parse_datatype
from raypipe.errors import ConfigurationError
from raypipe.pipeline import Column, Pipeline, TableSource

WHOLE = "kind: table, table: up, path: up.duckdb, columns: {n: int64}, extra_columns: keep, on_drift: evolve"


@pytest.fixture
def loaded(tmp_path: Any) -> Any:
    def load(source: str) -> Pipeline:
        path = tmp_path / "b.yaml"
        path.write_text(
            "name: b\n"
            "time: {column: day, start: 2024-01-01, shard: 1d}\n"
            f"source: {{{source}}}\n"
            "outputs: [{table: mine, rows: all}]\n"
            "destination: {kind: duckdb, path: x.duckdb}\n"
        )
        return load_pipeline(path)

    return load


def test_the_file_is_that_of_the_destination_unless_another_is_named(loaded: Any, tmp_path: Any) -> None:
    assert loaded("kind: table, table: up").source == TableSource(path=str(tmp_path / "x.duckdb"), table="up")
    assert loaded(WHOLE).source == TableSource(
        path=str(tmp_path / "up.duckdb"),
        table="up",
        columns={"n": Column(type=parse_datatype("int64"))},
        extra_columns="keep",
        on_drift="evolve",
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("kind: tabel, table: up", 'source.kind: got "tabel", expected a known kind: files, table; did you mean "table"?'),
        ("kind: table, tabel: up", 'source.tabel: unknown key; did you mean "table"? Known keys: kind, table, path, columns'),
        ("kind: table", "source.table: missing, expected: An output of another pipeline that has a column of event time"),
        ("kind: table, table: up, format: csv", "source.format: unknown key; known keys: kind, table, path, columns"),
        ("kind: table, table: Up", 'did you mean "up"?'),
        ("kind: table, table: mine", 'source.table: got "mine", expected a table of another pipeline: this one writes it itself'),
        ("kind: table, table: mine, path: ./x.duckdb", "this one writes it itself"),
        ("kind: table, table: up, path: s3://bucket/x", "s3:// is not read"),
        ("kind: table, table: up, columns: {n: int}", 'source.columns.n: got "int", expected a type'),
        ("kind: files, table: up, path: a.parquet", "source.table: unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_key(loaded: Any, source: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(source)
    assert len(refused.value.problems) == 1
    assert text in refused.value.problems[0]
    assert "b.yaml:3: source" in refused.value.problems[0]


def test_a_table_of_the_same_name_in_another_file_is_fine(loaded: Any) -> None:
    assert loaded("kind: table, table: mine, path: up.duckdb").source.table == "mine"


@pytest.mark.parametrize("source", ["kind: table, table: up", WHOLE])
def test_the_document_of_a_pipeline_is_read_as_that_pipeline_and_the_schema_knows_it(loaded: Any, source: str) -> None:
    pipeline = loaded(source)
    document = document_of(pipeline)

    jsonschema.Draft202012Validator(json_schema()).validate({**document, "run": {}})
    assert document["source"]["kind"] == "table"
    from raypipe.config.build import build_pipeline
    from raypipe.config.model import PipelineSection

    assert build_pipeline(PipelineSection.model_validate(document), pipeline.folder) == pipeline


def test_the_schema_refuses_keys_of_the_other_kind(loaded: Any) -> None:
    document = document_of(loaded(WHOLE))
    validator = jsonschema.Draft202012Validator(json_schema())
    document["run"] = {}
    assert validator.is_valid(document)
    document["source"]["format"] = "csv"
    assert not validator.is_valid(document)
