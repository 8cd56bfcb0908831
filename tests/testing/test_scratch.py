"""A scratch copy holds the input that was meant, in whatever form it was given, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.launch.parts import Parts
from raypipe.testing import FrozenClock
from raypipe.testing import scratch as room
from raypipe.testing.scratch import scratch

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def texts(one):
    return {name: (one.folder / "input" / name).read_text() for name in one.files}


@pytest.mark.parametrize("given", [lambda rows: rows, pa.Table.from_pylist, iter])
def test_rows_are_shared_out_over_files_in_their_order(counted, events, given):
    with scratch(counted, given(events)) as one:
        assert one.files == ("rows-0.csv", "rows-1.csv", "rows-2.csv")
        lines = [line for text in texts(one).values() for line in text.splitlines()[1:]]
        assert [int(line.split(",")[1]) for line in lines] == list(range(12))


def test_rows_under_names_become_files_of_these_names(counted, events):
    with scratch(counted, {"late.csv": events[:1], "early.csv": events[1:]}) as one:
        assert one.files == ("early.csv", "late.csv")
        assert len(texts(one)["late.csv"].splitlines()) == 2


@pytest.mark.parametrize("given", [lambda f: f, lambda f: str(f / "*.csv"), lambda f: [f / "a.csv", str(f / "b.csv")]])
def test_files_are_copied_from_a_folder_a_glob_or_a_list(counted, tmp_path, given):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
    with scratch(counted, given(tmp_path)) as one:
        assert texts(one) == {"a.csv": "a.csv", "b.csv": "b.csv"}


def test_files_of_one_name_are_told_apart(counted, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(folder)
    with scratch(counted, f"{tmp_path}/*/a.csv") as one:
        assert texts(one) == {"0000-a.csv": "x", "0001-a.csv": "y"}


def test_without_input_the_pipelines_own_is_copied_and_its_destination_is_elsewhere():
    with scratch(CONFIGS / "quality.yaml", None) as one:
        assert one.files == ("orders.csv",)
        assert Path(one.at("place").destination.path).is_relative_to(one.folder)
        assert (one.pipeline.run.executor, one.pipeline.folder) == ("inline", CONFIGS)
    assert not one.folder.exists()


@pytest.mark.parametrize(
    ("name", "files"),
    [("join", ("clicks/ad_clicks.csv", "impressions.jsonl")), ("concatenated", ("also-0/orders_of_shop.jsonl", "orders.csv"))],
)
def test_files_of_further_sources_stand_in_folders_of_their_own_and_can_be_kept_back_too(name, files):
    with scratch(CONFIGS / f"{name}.yaml", None) as one:
        assert one.files == files
        source = Parts(one.at("place"), FrozenClock("2026-01-01T00:00Z")).source
        assert [file.uri for file in source.list().files] == [str(one.folder / "input" / file) for file in files]
        with one.without(files[:1]):
            assert [file.uri for file in source.list().files] == [str(one.folder / "input" / files[1])]
        assert len(source.list().files) == 2


def test_rows_that_are_given_stand_for_the_source_with_all_that_is_put_together_with_it():
    with scratch(CONFIGS / "concatenated.yaml", [{"order_id": "a", "ordered_at": "2024-06-01T00:00:00"}] * 3) as one:
        assert one.files == ("rows-0.csv", "rows-1.csv", "rows-2.csv")
        assert one.pipeline.source.also == ()


def test_files_can_be_kept_back_until_they_arrive(counted, events):
    with scratch(counted, events) as one:
        inside = one.folder / "input"
        with one.without(["rows-1.csv", "rows-2.csv"]):
            one.deliver(["rows-2.csv"])
            assert sorted(file.name for file in inside.iterdir()) == ["rows-0.csv", "rows-2.csv"]
        assert sorted(file.name for file in inside.iterdir()) == list(one.files)


def test_no_input_at_all_and_one_that_is_no_sample_are_refused(counted, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no file matches .*nowhere.*: give some as `input`"), scratch(counted, None):
        pass
    (tmp_path / "a.csv").write_text("more than three bytes")
    monkeypatch.setattr(room, "INPUT_BYTES_MAX", 3)
    with (
        pytest.raises(ValueError, match="the input has 21 bytes, expected at most 3"),
        scratch(replace(counted), tmp_path / "a.csv"),
    ):
        pass
