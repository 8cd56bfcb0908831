"""Late arrivals come from a seed, complete, and end in the tables of one run over all events."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import raypipe
from raypipe.pipeline import Deduplicate, RowsOutput
from raypipe.testing import Delivery, late_arrivals, oracle

SEEDS = int(os.environ.get("RAYPIPE_ARRIVAL_SEEDS", "2"))
"""In CI 2 (about 5 s); the long part: RAYPIPE_ARRIVAL_SEEDS=200."""


@pytest.mark.parametrize("seed", range(20))
def test_every_event_arrives_and_the_counts_tell_how(events, seed):
    deliveries = list(late_arrivals(events, seed=seed, deliveries=4, late=0.3, doubled=0.3))
    arrived = Counter(event["n"] for one in deliveries for event in one.events)
    assert set(arrived) == set(range(len(events)))
    assert arrived.total() == len(events) + sum(one.doubled for one in deliveries)
    own = {event["n"]: event["n"] * 4 // len(events) for event in events}
    first = {event["n"]: one.number for one in reversed(deliveries) for event in one.events}
    assert sum(first[n] > own[n] for n in own) == sum(one.late for one in deliveries)
    assert all(first[n] >= own[n] for n in own)


def test_a_seed_gives_the_same_deliveries_and_another_one_others(events):
    made = [list(late_arrivals(events, seed=seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_without_late_and_doubled_ones_the_deliveries_are_the_events_in_parts(events):
    made = list(late_arrivals(events, seed=0, deliveries=3, late=0, doubled=0))
    assert [sorted(event["n"] for event in one.events) for one in made] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("wrong", [{"deliveries": 0}, {"late": 1.5}, {"doubled": -0.1}])
def test_shares_that_are_none_are_refused(events, wrong):
    with pytest.raises(ValueError, match="expected at least 1, and shares from 0 to 1"):
        list(late_arrivals(events, seed=0, **wrong))


def test_files_are_delivered_under_names_that_are_unique(counted, tmp_path):
    names = ["a.csv", "b.csv"]
    for name in names:
        (tmp_path / name).write_text(f"ts,n,kind\n2026-01-01T00:00:00,1,{name}\n")
    placed = tmp_path / "placed"
    placed.mkdir()
    deliveries = late_arrivals([tmp_path / name for name in names], seed=3, deliveries=2, doubled=1)
    files = [file for one in deliveries for file in one.place(counted, placed)]
    assert sorted(placed.iterdir()) == sorted(files)
    assert Counter(file.name.rpartition("-")[2] for file in files) == {"a.csv": 2, "b.csv": 2}


def test_rows_are_placed_as_one_file_in_the_format_of_the_source(counted, events, tmp_path):
    (file,) = Delivery(7, tuple(events[:2])).place(counted, tmp_path)
    assert file.name == "delivery-0007.csv"
    with Path(file).open(newline="") as stream:
        assert [row["n"] for row in csv.DictReader(stream)] == ["0", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_comes_late_and_twice_the_tables_are_those_of_all_events(counted, events, tmp_path, seed):
    (tmp_path / "nowhere").mkdir()
    pipeline = replace(counted, transform=(Deduplicate(key=("n",)),), outputs=(RowsOutput(table="clean"),))
    for delivery in late_arrivals(events, seed=seed, deliveries=3):
        delivery.place(pipeline, tmp_path / "nowhere")
        assert raypipe.run(pipeline).closed.status == "done"
    oracle.check(pipeline, expected={"clean": [event for event in events if event["n"] != 4]}, key={"clean": "n"})
