from __future__ import annotations

import csv
import json

import pytest

from raypipe.cli.starter import RIDES, write_starter
from raypipe.config.load import load_pipeline
from raypipe.errors import UsageError


def test_the_starter_is_a_valid_pipeline_with_its_data(tmp_path):
    files = write_starter(tmp_path / "demo")

    assert [path.name for path in files] == ["pipeline.yaml", "rides.csv", "stations.csv"]
    assert load_pipeline(str(files[0])).name == "rides"


def test_the_data_is_the_same_each_time_and_has_the_dirt_that_its_comments_tell_of(tmp_path):
    write_starter(tmp_path / "a")
    write_starter(tmp_path / "b")

    text = (tmp_path / "a" / "rides.csv").read_text()
    assert text == (tmp_path / "b" / "rides.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    assert len(rows) == RIDES + 1
    assert sum(len(row) != 5 for row in rows) == 1
    assert len({tuple(row) for row in rows}) == RIDES + 1 - 2
    assert sum(row[3] == "" for row in rows if len(row) == 5) > 5
    assert min(row[1] for row in rows[1:] if row[1].startswith("2024")) >= "2024-05-01"
    assert max(row[1] for row in rows[1:] if row[1].startswith("2024")) < "2024-05-15"


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "rides.csv").write_text("mine")

    with pytest.raises(UsageError, match=r"rides\.csv exists already"):
        write_starter(tmp_path)

    assert (tmp_path / "rides.csv").read_text() == "mine"
    assert not (tmp_path / "pipeline.yaml").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="init cannot write to"):
        write_starter(tmp_path / "file" / "demo")


def test_init_prints_the_commands_that_come_next(raypipe, tmp_path):
    result = raypipe("init", str(tmp_path / "demo"))

    assert result.exit_code == 0
    assert f"raypipe run {tmp_path}/demo/pipeline.yaml" in result.stdout
    assert raypipe("init", str(tmp_path / "demo")).exit_code == 2
    assert json.loads(raypipe("init", str(tmp_path / "other"), "--json").stdout)["next"][0].startswith("raypipe run")
