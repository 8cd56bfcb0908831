"""Clusters: a local one is private and leaves nothing; one that exists is joined with a token or refused with the reason."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from raypipe.errors import ConfigurationError, StopError, UsageError
from raypipe.runtime.cluster import checked_address, connect, is_loopback, open_cluster
from raypipe.runtime.session_folder import FOLDER_LENGTH_MAX, SessionFolder, new_session_folder, remove_leftovers

ENDS_WITHIN_S = 120  # on a busy machine: how long a process may take that was told to end
EXITS_WITHIN_S = 10  # how long the kernel may take to clear away a process that was killed; an agent left alone lives longer

LAUNCHER = """
import json, os, signal, sys
from raypipe.testing.local_cluster import LocalCluster
import ray

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background, which ignores it

@ray.remote
def environment():
    return os.environ.get("RAYPIPE_RAY_SESSION")

with LocalCluster(cpus=1, memory_bytes=2**30) as cluster:
    running = cluster.folder.processes()
    sockets = [one.laddr.ip for process in [*running] for one in process.net_connections() if one.status == "LISTEN"]
    print(json.dumps({
        "address": cluster.address, "folder": str(cluster.folder.path), "listening": sockets, "pids": [one.pid for one in running],
        "mode": oct(cluster.folder.token_path.stat().st_mode), "mark": ray.get(environment.remote()),
        "resources": ray.cluster_resources(),
    }), flush=True)
    sys.stdin.readline()
"""

JOINER = """
import json, sys, time
from raypipe.errors import RaypipeError
from raypipe.runtime.cluster import connect
import ray
started = time.monotonic()
try:
    with connect(sys.argv[1]) as cluster:
        print(json.dumps({"address": cluster.address, "cpus": ray.cluster_resources()["CPU"]}))
except RaypipeError as error:
    print(json.dumps({"kind": type(error).__name__, "text": str(error), "quick": time.monotonic() - started < 15}))
"""


def clean_environment(**more):
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY")} | more


def join(address, **environment):
    done = subprocess.run(
        [sys.executable, "-c", JOINER, address], env=clean_environment(**environment), capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@contextmanager
def launcher(**environment):
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        env=clean_environment(**environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def facts(process):
    return json.loads(process.stdout.readline())


@contextmanager
def answering(with_what):
    """A server that is no Ray head."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(with_what)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.ray
class TestLocal:
    def test_two_at_once_are_private_and_leave_nothing_however_they_end(self, tmp_path):
        home = str(tmp_path / "missing")
        with launcher(HOME=home) as first, launcher(HOME=home) as second:
            one, other = facts(first), facts(second)
            assert one["address"] != other["address"]
            assert not set(one["pids"]) & set(other["pids"])
            for found in (one, other):
                assert found["listening"]
                assert {ip.removeprefix("::ffff:") for ip in found["listening"]} == {"127.0.0.1"}
                assert found["mode"] == "0o100600"
                assert (found["resources"]["CPU"], found["resources"]["memory"]) == (1, 2**30)
            first.send_signal(signal.SIGINT)
            second.kill()
            first.wait(ENDS_WITHIN_S)
            second.wait(ENDS_WITHIN_S)
            assert not Path(one["folder"]).exists()
            assert left_running(one["pids"]) == []
            remove_leftovers()
            assert not Path(other["folder"]).exists()
            assert left_running(other["pids"]) == []

    def test_what_ray_runs_for_us_is_known_by_its_mark(self, local_ray):
        names = {process.name() for process in local_ray.folder.processes()}
        assert {"raylet", "gcs_server"} <= names


def left_running(pids):
    """Return those that run on; what is on its way out, or waits for its parent to take note of its death, does not."""
    deadline = time.monotonic() + EXITS_WITHIN_S
    while (found := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.ray
class TestJoining:
    def test_the_ray_of_this_process_is_used_and_left_running(self, local_ray):
        import ray

        with open_cluster("10.0.0.5:6379") as cluster:
            assert cluster.address == local_ray.address
        assert ray.is_initialized()

    def test_with_the_token_a_cluster_is_joined_and_goes_on_afterwards(self, local_ray):
        token = local_ray.folder.token_path.read_text()
        assert join(local_ray.address, RAY_AUTH_TOKEN=token) == {"address": local_ray.address, "cpus": 2}
        import ray

        assert ray.cluster_resources()["CPU"] == 2

    @pytest.mark.parametrize("environment", [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}])
    def test_without_the_right_token_nobody_is_let_in(self, local_ray, tmp_path, environment):
        found = join(local_ray.address, HOME=str(tmp_path), **environment)
        assert (found["kind"], found["quick"]) == ("ConfigurationError", True)
        assert "does not accept this token" in found["text"]

    def test_token_mode_without_any_token_says_what_to_set(self, local_ray, tmp_path):
        found = join(local_ray.address, HOME=str(tmp_path), RAY_AUTH_MODE="token")
        assert found["kind"] == "ConfigurationError"
        assert "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH" in found["text"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("ray://head:10001", "Ray Client is not supported"),
            ("http://head:8265", "job server"),
            ("auto", "expected host:port"),
            ("head:0", "expected host:port"),
            (":6379", "expected host:port"),
        ],
    )
    def test_an_address_of_another_kind_is_refused_with_what_is_expected(self, address, reason):
        with pytest.raises(UsageError, match=reason):
            checked_address(address)

    def test_a_cluster_beyond_this_machine_needs_a_token(self, monkeypatch, tmp_path):
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(ConfigurationError, match=r"without a token: .* RAYPIPE_ALLOW_INSECURE_CLUSTER=1"):
            connect("192.0.2.77:6379")

    def test_a_head_that_does_not_run_is_noticed(self):
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(StopError, match="nobody answers"):
            connect(address)

    def test_another_kind_of_server_is_noticed(self):
        with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address, pytest.raises(StopError, match="is no Ray head"):
            connect(address)

    def test_a_machine_outside_of_the_cluster_is_told_so(self):
        settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        with answering(settings) as address, pytest.raises(StopError, match="this machine is no node"):
            connect(address)

    @pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1"])
    def test_loopback_addresses_are_known(self, address):
        assert is_loopback(address)

    @pytest.mark.parametrize("address", ["10.0.0.5:1", "head:1", "[fe80::1]:1"])
    def test_other_addresses_are_not_loopback(self, address):
        assert not is_loopback(address)


class TestSessionFolder:
    def test_a_folder_of_a_running_process_is_left_alone(self):
        folder = new_session_folder()
        remove_leftovers()
        assert folder.path.exists()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        folder.remove()
        assert not folder.path.exists()

    @pytest.mark.parametrize(("owner", "alive"), [("other-host 1 1.00", True), ("", False), ("x", False)])
    def test_only_a_process_of_this_machine_can_be_known_dead(self, tmp_path, owner, alive):
        (tmp_path / "owner").write_text(owner)
        assert SessionFolder(tmp_path).owner_is_alive() is alive

    def test_a_long_temporary_folder_is_not_used_for_sockets(self, tmp_path, monkeypatch):
        deep = tmp_path / ("d" * 60)
        deep.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(deep))
        folder = new_session_folder()
        assert len(str(folder.path)) <= FOLDER_LENGTH_MAX
        folder.remove()
