"""Every named point: a run that ends or errs there is finished by the next one, and nothing is lost or doubled.

The bounded part of the loop: the first hit of every point, killed and raising, with the inline executor, and some on Ray.
`python -m tests.faults.loop` plays every hit of every point with every action, and prints the table.
"""

from __future__ import annotations

import ast
import signal
from pathlib import Path

import pytest

from raypipe import failpoints
from raypipe.failpoints import ANSWERS, POINTS, AnswerLost, hit, parse
from tests.faults.forks import fork_server
from tests.faults.scenes import SCENES, Stage

SOURCES = sorted((Path(__file__).parents[2] / "raypipe").rglob("*.py"))


def points_of(path: Path) -> list[str]:
    """The points that are hit in a file, by name; `_acknowledged` hits one for a transaction that is durable."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and node.args]
    named = [node for node in calls if ast.unparse(node.func) in ("hit", "failpoints.hit", "_acknowledged")]
    return [node.args[0].value for node in named if isinstance(node.args[0], ast.Constant)]


def test_every_point_stands_once_in_the_code_and_every_hit_has_a_name():
    found = [point for path in SOURCES for point in points_of(path)]
    assert sorted(found) == sorted(POINTS)
    assert set(SCENES) <= set(POINTS)
    assert set(ANSWERS) <= set(POINTS)


# ---- how points fire --------------------------------------------------------------------------------------


@pytest.fixture
def arm(monkeypatch, tmp_path):
    monkeypatch.setattr(failpoints, "_hits", {})

    def armed(text: str, *, shared: bool = False) -> None:
        monkeypatch.setenv("RAYPIPE_TESTING", "1")
        monkeypatch.setenv("RAYPIPE_FAILPOINTS", text)
        if shared:
            monkeypatch.setenv("RAYPIPE_FP_DIR", str(tmp_path))

    return armed


def hits(times: int, point: str = "task.start", **facts: object) -> list[bool]:
    """Hit a point some times; tell which of them raised."""
    raised = []
    for _ in range(times):
        try:
            hit(point, **facts)
        except OSError:
            raised.append(True)
        else:
            raised.append(False)
    return raised


def test_a_point_does_nothing_outside_of_tests(arm, monkeypatch):
    arm("task.start=raise")
    monkeypatch.delenv("RAYPIPE_TESTING")
    assert hits(2) == [False, False]


@pytest.mark.parametrize("shared", [False, True])
def test_a_point_fires_at_its_nth_hit_and_never_again(arm, tmp_path, shared):
    arm("task.start=raise@2;task.start=raise:ENOSPC@4", shared=shared)
    assert hits(5) == [False, True, False, True, False]
    if shared:
        assert sorted(one.name for one in tmp_path.glob("*.fired")) == ["0-task.start.fired", "1-task.start.fired"]


def test_hits_are_counted_over_all_processes_that_share_a_folder(arm, tmp_path):
    arm("task.start=raise@3", shared=True)
    with fork_server() as server:
        code = "from raypipe.failpoints import hit; hit('task.start')"
        environment = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": "task.start=raise@3", "RAYPIPE_FP_DIR": str(tmp_path)}
        ended = [server.start(code, tmp_path, **environment).wait().code for _ in range(4)]
    assert ended == [0, 0, 1, 0]


def test_only_hits_with_the_chosen_facts_count(arm):
    arm("task.start=raise@2,shard=7,attempt=1")
    assert hits(3, shard=(6, 7), attempt=0) == [False] * 3
    assert hits(3, shard=(6, 8), attempt=1) == [False] * 3
    assert hits(3) == [False] * 3
    assert hits(3, shard=(6, 7), attempt=1) == [False, True, False]


def test_a_lost_answer_is_an_error_of_its_own(arm):
    arm("close.after=return_lost")
    with pytest.raises(AnswerLost, match=r"close\.after"):
        hit("close.after")


@pytest.mark.parametrize("text", ["task.begin=kill", "task.start=die", "task.start"])
def test_a_point_or_action_that_does_not_exist_is_refused(text):
    with pytest.raises(ValueError, match="no such point or action"):
        parse(text)


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT), ("exit", 70)])
def test_an_action_ends_the_process_as_it_says(tmp_path, server, action, code):
    environment = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": f"task.start={action}"}
    assert server.start("from raypipe.failpoints import hit; hit('task.start')", tmp_path, **environment).wait().code == code


# ---- the loop, bounded ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with fork_server() as made:
        yield made


@pytest.fixture(scope="module")
def stage(server, tmp_path_factory):
    made = Stage(tmp_path_factory.mktemp("inline") / "scene", server)
    made.folder.mkdir()
    made.set_up()
    return made


@pytest.mark.slow
@pytest.mark.fault(1, 4, 5, 6, 7, 16)
@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_finishes_what_was_ended_or_failed_at_a_point(stage, point, action):
    assert stage.play(point, action), f"{point} was not met"


@pytest.mark.slow
@pytest.mark.fault(7)
@pytest.mark.parametrize("point", sorted(ANSWERS))
def test_an_answer_that_is_lost_is_asked_for_again(stage, point):
    assert stage.play(point, "return_lost"), f"{point} was not met"


@pytest.fixture(scope="module")
def ray_stage(local_ray, server, tmp_path_factory):
    made = Stage(tmp_path_factory.mktemp("ray") / "scene", server, "ray")
    made.folder.mkdir()
    made.set_up()
    return made


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(1, 2, 4, 5, 6)
@pytest.mark.parametrize(
    ("point", "action"),
    [
        ("task.after_data_before_manifest", "kill"),
        ("task.before_return", "abort"),
        ("commit.after_commit_before_ack", "kill"),
    ],
)
def test_on_ray_another_worker_or_driver_takes_over_what_was_ended_at_a_point(ray_stage, point, action):
    assert ray_stage.play(point, action), f"{point} was not met"
