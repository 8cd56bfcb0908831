"""Arrow takes the system's memory for tasks with a large shard, where raypipe chose how it is taken, and nobody else did."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from raypipe.core.room import engines_memory
from raypipe.core.shard import InputFile, Reason, Shard, Slice
from raypipe.core.window import Window
from raypipe.engine.arrow_memory import LARGE_ROWS, choose_arrow_memory

NAMES = ("ARROW_DEFAULT_MEMORY_POOL", "JE_ARROW_MALLOC_CONF")
USUAL = engines_memory(os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def _pool_of_before():
    before = pa.default_memory_pool()
    yield
    pa.set_memory_pool(before)


@pytest.fixture
def chosen(monkeypatch):
    def choose(**settings):
        for name in NAMES:
            monkeypatch.setenv(name, {**USUAL, **settings}[name])

    return choose


def shards(*rows: int) -> list[Shard]:
    made = [(place, Slice(InputFile("f", 1, "v"), rows=count)) for place, count in enumerate(rows)]
    return [Shard(place, Window(place, place + 1), Reason.NEW, frozenset(), (one,)) for place, one in made]


def backend(*rows: int) -> str:
    choose_arrow_memory(shards(*rows))
    return pa.default_memory_pool().backend_name


def test_large_shards_take_the_memory_of_the_system_and_others_that_of_jemalloc_again(chosen):
    chosen()
    assert [backend(LARGE_ROWS), backend(LARGE_ROWS - 1), backend(1, LARGE_ROWS)] == ["system", "jemalloc", "system"]
    assert backend(LARGE_ROWS - 1, LARGE_ROWS - 1) == "jemalloc"


@pytest.mark.parametrize("settings", [{NAMES[0]: "mimalloc"}, {NAMES[1]: "narenas:7"}], ids=NAMES)
def test_what_a_person_chose_stays(chosen, settings):
    chosen(**settings)
    before = pa.default_memory_pool().backend_name
    assert {backend(LARGE_ROWS), backend(1)} == {before}


def test_the_memory_of_a_process_that_raypipe_did_not_set_up_is_left_alone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    before = pa.default_memory_pool().backend_name
    assert {backend(LARGE_ROWS), backend(1)} == {before}
