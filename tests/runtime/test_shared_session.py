"""Which local cluster a run takes part in: one of its own kind that is alive and large enough, and never another user's."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.errors import StopError
from raypipe.runtime import choice_lock, shared_session
from raypipe.runtime.choice_lock import NotAlone, choosing
from raypipe.runtime.session_folder import SessionFolder, new_session_folder
from raypipe.runtime.shared_session import ADDRESS, FAILED, OFFER, USERS, SharedSession, take_session

MIB = 1024**2


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A temporary folder of the test's own, and what sessions were started: their guardian is this process, which keeps no Ray."""
    folder = Path(os.path.realpath(tmp_path))
    monkeypatch.setattr(shared_session, "session_root", lambda: folder)
    monkeypatch.setattr("raypipe.runtime.session_folder.session_root", lambda: folder)
    monkeypatch.setattr(shared_session, "END_WAIT_S", 0.0)
    monkeypatch.setattr(shared_session, "remove_leftovers", lambda: None)  # a dead guardian's folder is not joined, either
    made = []

    def start(memory_bytes, offer=None):
        session_folder = new_session_folder()
        if offer is not None:
            session_folder.write(OFFER, offer)
        users = shared_session._user_of(session_folder)
        fcntl.flock(users, fcntl.LOCK_SH)
        made.append(session_folder.path)
        return SharedSession(session_folder, users)

    monkeypatch.setattr(shared_session, "_started", start)
    return made


def test_the_second_run_takes_part_in_what_the_first_started(started):
    with take_session(MIB) as first, take_session(MIB) as second:
        assert first.folder == second.folder
    assert len(started) == 1


def test_a_cluster_that_its_last_run_has_left_is_not_joined_any_more(started):
    with take_session(MIB) as first:
        with take_session(MIB):
            pass
        assert first.folder.read(OFFER)
    with take_session(MIB):
        assert len(started) == 2


def _ends_meanwhile(folder):
    (folder.path / OFFER).unlink(missing_ok=True)
    return True


@pytest.mark.parametrize(
    "other",
    [
        lambda folder, patch: patch.setattr(shared_session, "__version__", "99.0"),
        lambda folder, patch: patch.setenv("PYTHONPATH", "/elsewhere"),
        lambda folder, patch: patch.setenv("RAY_memory_usage_threshold", "0.5"),
        lambda folder, patch: patch.setattr("os.sched_getaffinity", lambda pid: {77}),
        lambda folder, patch: patch.setattr(SessionFolder, "owner_is_alive", lambda folder: False),
        lambda folder, patch: (folder.path / OFFER).unlink(),
        lambda folder, patch: patch.setattr(SessionFolder, "owner_is_alive", _ends_meanwhile),
        lambda folder, patch: os.utime(folder.path / OFFER, (10**9, 10**9)),
        lambda folder, patch: patch.setattr("os.getuid", lambda: 12345),
    ],
    ids=["version", "python path", "ray settings", "cores", "dead guardian", "no offer", "ends meanwhile", "old", "another user"],
)
def test_a_cluster_of_another_kind_is_not_joined(started, monkeypatch, other):
    with take_session(MIB) as first, monkeypatch.context() as patch:
        other(first.folder, patch)
        with take_session(MIB) as second:
            assert second.folder != first.folder


def test_what_differs_in_variables_that_travel_with_the_run_is_no_other_kind(started, monkeypatch):
    with take_session(MIB) as first:
        monkeypatch.setenv("SECRET", "x")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "y")
        with take_session(MIB) as second:
            assert second.folder == first.folder


def test_a_run_that_needs_more_memory_than_a_cluster_offers_starts_one(started, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 4 * MIB}))
    with take_session(MIB) as small, take_session(4 * MIB) as fits, take_session(5 * MIB) as large, take_session(5 * MIB):
        assert small.folder == fits.folder != large.folder
    assert len(started) == 2


def test_a_cluster_that_its_guardian_ends_is_not_joined(started):
    with take_session(MIB) as first:
        fcntl.flock(first._users, fcntl.LOCK_UN)
        guardian = os.open(first.folder.path / USERS, os.O_RDWR)
        fcntl.flock(guardian, fcntl.LOCK_EX)
        with take_session(MIB) as second:
            assert second.folder != first.folder
        os.close(guardian)


def test_a_folder_that_is_a_link_is_never_followed(started, tmp_path):
    with take_session(MIB) as first:
        first.folder.path.rename(tmp_path / "moved")
        first.folder.path.symlink_to(tmp_path / "moved")
        with take_session(MIB) as second:
            assert second.folder != first.folder
        first.folder.path.unlink()
        (tmp_path / "moved").rename(first.folder.path)


def test_a_process_that_is_killed_is_no_user_any_more(started):
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_SH); print(flush=True); sys.stdin.read()"
    with take_session(MIB) as first:
        other = subprocess.Popen(
            [sys.executable, "-c", hold, str(first.folder.path / USERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        other.stdout.readline()
        assert not first._take_back()
        other.kill()
        other.communicate()
        assert first._take_back()


def test_the_reason_why_ray_did_not_start_is_told(started):
    with take_session(MIB) as first:
        first.folder.write(FAILED, "no room")
        with pytest.raises(StopError, match="no room"):
            first.address()
        first.folder.write(ADDRESS, "127.0.0.1:1")
        assert first.address() == "127.0.0.1:1"


def test_a_guardian_that_was_ended_is_not_waited_for(started, monkeypatch):
    with take_session(MIB) as first:
        monkeypatch.setattr(SessionFolder, "owner_is_alive", lambda folder: False)
        with pytest.raises(StopError, match="was ended"):
            first.address()


class TestChoiceLock:
    def test_it_is_had_by_one_at_a_time_and_leaves_no_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(choice_lock, "LOCK_WAIT_S", 0.05)
        with choosing(tmp_path), pytest.raises(NotAlone), choosing(tmp_path):
            pass
        with choosing(tmp_path):
            assert len(list(tmp_path.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("squat", ["link", "open to others", "folder"])
    def test_a_file_that_is_not_this_users_alone_is_not_used_and_the_cluster_is_offered_to_nobody(self, tmp_path, started, squat):
        path = tmp_path / f"raypipe-ray-{os.getuid()}.lock"
        match squat:
            case "link":
                path.symlink_to(tmp_path / "target")
            case "open to others":
                path.touch()
                path.chmod(0o666)
            case "folder":
                path.mkdir()
        with take_session(MIB) as session:
            assert not session.folder.read(OFFER)
        assert not (tmp_path / "target").exists()
