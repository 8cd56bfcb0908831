"""The job server's client: what it refuses, and how it follows a job whose server falls silent for a while."""

from __future__ import annotations

import importlib.util
import socket
from contextlib import closing
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from raypipe.core.submission import JobState, Submission
from raypipe.errors import ConfigurationError, StopError, UsageError
from raypipe.runtime import job_server
from raypipe.runtime.job_server import JobServer, checked_job_address
from raypipe.runtime.ray_settings import Environment

METADATA = Submission.of("flights", request=[], now=[]).metadata(1)


class TestRefusals:
    @pytest.mark.parametrize("address", [None, "", "head:8265", "ray://head:10001", "http://"])
    def test_an_address_of_another_kind_is_refused_with_what_is_expected(self, address, monkeypatch):
        for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(UsageError, match=r"expected .* http://head:8265"):
            checked_job_address(address)

    def test_the_address_of_the_environment_counts_where_none_is_given(self, monkeypatch):
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://head:443/")
        assert checked_job_address(None) == "https://head:443"
        assert checked_job_address("http://other:8265") == "http://other:8265"

    def test_a_missing_client_names_the_extra_to_install(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"pip install 'raypipe\[submit\]'"):
            JobServer("http://127.0.0.1:8265")

    def test_a_server_that_does_not_run_is_noticed(self):
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(StopError, match="nobody answers"):
            JobServer(address)

    def test_a_server_beyond_this_machine_needs_a_token(self, tmp_path):
        environment = Environment()  # Ray looks at it again when it is put back: this process may have joined a cluster
        environment.set({"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": None, "HOME": str(tmp_path)})
        try:
            with pytest.raises(ConfigurationError, match=r"without a token: .* RAYPIPE_ALLOW_INSECURE_CLUSTER=1"):
                JobServer("http://192.0.2.77:8265")
        finally:
            environment.restore()


@dataclass
class Client:
    """A job client that answers from a script: states, or errors; the log grows by a line at each answer."""

    script: list[object]
    asked: int = 0
    stopped: list[str] = field(default_factory=list)

    def get_job_info(self, job_id):
        self.asked += 1
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(
            submission_id=job_id, metadata=METADATA, status=answer, start_time=None, end_time=None, driver_exit_code=0, message=""
        )

    def get_job_logs(self, job_id):
        return "".join(f"line {number}\n" for number in range(self.asked))

    def stop_job(self, job_id):
        self.stopped.append(job_id)


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.setattr(job_server, "POLL_S", 0)

    def serve(*script):
        client = Client(list(script))
        monkeypatch.setattr(JobServer, "_connected", lambda self: client)
        return JobServer("http://127.0.0.1:8265"), client

    return serve


class TestFollowing:
    def test_every_line_is_shown_once_also_past_a_silence(self, serving):
        server, _ = serving(JobState.PENDING, JobState.RUNNING, ConnectionError("reset"), JobState.RUNNING, JobState.SUCCEEDED)
        shown = []
        assert server.follow("j", shown.append).state is JobState.SUCCEEDED
        assert "".join(shown) == "".join(f"line {number}\n" for number in range(5))

    def test_a_server_that_stays_silent_is_given_up_and_the_job_named(self, serving, monkeypatch):
        monkeypatch.setattr(job_server, "SILENCE_MAX_S", 0)
        server, _ = serving(ConnectionError("reset"))
        with pytest.raises(StopError, match="where the cluster still runs, so does j"):
            server.follow("j", print)

    def test_stopping_waits_for_the_end(self, serving):
        server, client = serving(JobState.RUNNING, JobState.RUNNING, JobState.STOPPED)
        assert server.stop("j").exit_code == 143
        assert (client.stopped, client.asked) == (["j"], 3)

    def test_a_job_that_does_not_end_is_told(self, serving, monkeypatch):
        monkeypatch.setattr(job_server, "STOP_WAIT_S", 0)
        server, _ = serving(JobState.RUNNING)
        with pytest.raises(StopError, match="has not ended within"):
            server.stop("j")
