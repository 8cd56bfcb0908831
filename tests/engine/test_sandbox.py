"""Sandboxes are lent again and again, with memory that they keep, until they have held much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raypipe.engine import sandbox
from raypipe.engine.sandbox import MEMORY_BYTES_MIN, Sandboxes

MIB = 1024**2


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[Sandboxes]:
    made = Sandboxes(100 * MIB, tmp_path)
    yield made
    made.close()


def lent(sandboxes: Sandboxes) -> int:
    with sandboxes.borrow() as connection:
        return id(connection)


def test_a_sandbox_that_came_back_is_lent_again(sandboxes: Sandboxes) -> None:
    with sandboxes.borrow() as first, sandboxes.borrow() as second:
        assert second is not first
    assert {lent(sandboxes) for _ in range(3)} <= {id(first), id(second)}


def test_so_many_wait_to_be_lent_as_were_made_ready(sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(Sandboxes, "_open", lambda self, open_=Sandboxes._open: _noted(open_(self), opened))
    sandboxes.make_ready(1)
    with sandboxes.borrow(), sandboxes.borrow():  # the second one was not ready
        sandboxes.make_ready(3)
        assert len(opened) == 3
    with sandboxes.borrow(), sandboxes.borrow(), sandboxes.borrow():
        assert len(opened) == 3
    sandboxes.close()
    assert not any(folder.exists() for folder in opened)


def _noted(made: tuple[Any, Path], opened: list[Path]) -> tuple[Any, Path]:
    opened.append(made[1])
    return made


def test_one_that_was_lent_for_long_gives_its_memory_and_its_folder_back(
    sandboxes: Sandboxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent(sandboxes)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(sandbox, "KEPT_AFTER_S", -1.0)
    lent(sandboxes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "given", "kept"),
    [
        (100, "100.0 MiB", "100.0 MiB"),
        (0, f"{MEMORY_BYTES_MIN / MIB} MiB", f"{MEMORY_BYTES_MIN / MIB} MiB"),
        (512, "512.0 MiB", "128.0 MiB"),
    ],
)
def test_what_it_may_use_comes_from_memory_that_it_keeps_up_to_a_limit(asked: int, given: str, kept: str, tmp_path: Path) -> None:
    made = Sandboxes(asked * MIB, tmp_path)
    with made.borrow() as connection:
        query = "SELECT current_setting('memory_limit'), current_setting('block_allocator_memory')"
        assert connection.execute(query).fetchall() == [(given, kept)]
    made.close()
