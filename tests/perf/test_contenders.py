from __future__ import annotations

import sys

import pytest

from perf.bench import Bench, Contender
from perf.contenders import in_shell
from perf.measure import CommandFailed, Measured, measure
from perf.values import Work


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr("perf.bench.yardstick_s", lambda: 0.1)
    return Bench(tmp_path, 2, False, None, None, lambda text: None)


def writing(name, log):
    return Contender(name, lambda folder: ["sh", "-c", f"echo {name} >> {log}; touch {folder}/done"])


def test_contenders_take_turns(bench, tmp_path):
    seen = []
    log = tmp_path / "log"
    found = bench.in_turn([writing("a", log), writing("b", log)], Work(10), check=lambda folders: seen.append(dict(folders)))
    assert log.read_text().split() == ["a", "b"] * 3  # the first time memory is looked at
    assert [(one.contender, len(one.runs)) for one in found] == [("a", 2), ("b", 2)]
    assert len({folder for folders in seen for folder in folders.values()}) == 6


def test_memory_is_looked_at_in_a_round_of_its_own(bench, monkeypatch):
    looks, seconds = [], iter([9.0, 1.0, 2.0])

    def measured(command, environment, *, expected, memory):
        looks.append(memory)
        return Measured(next(seconds), 1.0, 1000 if memory else 0)

    monkeypatch.setattr("perf.bench.measure", measured)
    (found,) = bench.in_turn([Contender("a", lambda folder: ["true"])], Work(10))
    assert looks == [True, False, False]
    assert [(one.wall_s, one.peak_bytes) for one in found.runs] == [(1.0, 1000), (2.0, 1000)]


def test_an_answer_is_checked_before_its_folder_is_gone(bench, tmp_path):
    def check(folders):
        assert all((folder / "done").exists() for folder in folders.values())
        raise ValueError("a wrong answer")

    with pytest.raises(ValueError, match="a wrong answer"):
        bench.in_turn([writing("a", tmp_path / "log")], Work(10), check=check)


def test_the_yardstick_is_taken_beside_every_run(bench, tmp_path):
    bench.in_turn([writing("a", tmp_path / "log")], Work(10), runs=3)
    assert bench.taken_yardsticks() == (0.1,) * 4
    assert bench.taken_yardsticks() == ()


@pytest.mark.parametrize("at_once", [True, False])
def test_several_commands_in_one_fail_where_one_of_them_does(at_once):
    fine, broken = [sys.executable, "-c", "print('done')"], [sys.executable, "-c", "raise SystemExit(3)"]
    measure(in_shell([fine, fine], at_once=at_once))
    with pytest.raises(CommandFailed):
        measure(in_shell([fine, broken, fine], at_once=at_once))
