"""Pipelines that run elsewhere: data stand where they stood, code and reference files travel, references stay references."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.engine.definition import definitions

LOOKUP = {"lookup": {"path": "towns.csv", "on": "town", "columns": ["country"]}}


def test_data_stand_in_another_folder_and_code_and_reference_files_beside_the_configuration(load, small, tmp_path):
    small["transform"] = [LOOKUP, {"lookup": {**LOOKUP["lookup"], "path": "../shared/towns.csv"}}]
    found = load(small, folder=Path("/home/me/rides"))
    assert found.source.paths == ("/home/me/rides/rides.csv",)
    assert found.destination.path == "/home/me/rides/rides.duckdb"
    assert [step.path for step in found.transform] == [str(tmp_path / "towns.csv"), "/home/me/shared/towns.csv"]
    assert (found.folder, found.data_folder) == (tmp_path, Path("/home/me/rides"))


def test_a_copy_has_the_definition_of_its_original(load, small, tmp_path):
    copied = tmp_path / "copy"
    copied.mkdir()
    small["transform"] = [LOOKUP]
    for folder in (tmp_path, copied):
        (folder / "towns.csv").write_text("town,country\n")
    original = load(small)
    (copied / "daily.yaml").write_bytes((tmp_path / "daily.yaml").read_bytes())
    from raypipe.config.load import load_pipeline

    travelled = load_pipeline(copied / "daily.yaml", folder=tmp_path)
    assert travelled.folder == copied
    assert definitions(travelled) == definitions(original)


def test_a_file_reference_starts_where_the_data_stand(load, small, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "what").write_text("all rides\n")
    assert load({**small, "description": "${file:what}"}, folder=tmp_path / "data").description == "all rides"


def test_a_reference_without_a_value_here_stands_as_written(load, small, problem):
    small["description"] = "${env:ONLY_THERE}"
    assert load(small, elsewhere=True).description == "${env:ONLY_THERE}"
    assert "ONLY_THERE" in problem(small)


def test_other_mistakes_are_refused_all_the_same(small, problem):
    small["description"] = "${env:ONLY_THERE}"
    small["time"]["shard"] = "5 mins"
    assert "time.shard" in problem(small, elsewhere=True)


@pytest.mark.parametrize("options", [{}, {"elsewhere": True}])
def test_a_reference_that_has_to_be_a_number_needs_a_value_here(small, problem, options):
    small["run"] = {"memory": "${env:ONLY_THERE}"}
    assert "ONLY_THERE" in problem(small, **options)
