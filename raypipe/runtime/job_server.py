"""JobServer: the job server of a Ray cluster, over HTTP: jobs are started, found, watched and stopped from any machine."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from raypipe.core.submission import Job, JobState, job_of
from raypipe.errors import ConfigurationError, RaypipeError, StopError, UsageError
from raypipe.runtime import ray_settings
from raypipe.runtime.cluster import not_let_in, require_token, required_answer

POLL_S = 1.0  # how soon a line of a job is shown; each question carries the whole log, which raypipe keeps short
SILENCE_MAX_S = 60.0  # a job server that does not answer for so long is gone: the head has restarted, or the network is cut
STOP_GRACE_S = 15  # from SIGTERM to SIGKILL: a run ends its commit and says so within 10
STOP_WAIT_S = STOP_GRACE_S + 30.0
LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging", "ray.dashboard.modules.job.sdk")


class JobServer:
    """One job server. Each method raises StopError where it does not answer, ConfigurationError where it does not let us in."""

    def __init__(self, address: str | None) -> None:
        self._address = checked_job_address(address)
        if importlib.util.find_spec("aiohttp") is None:
            raise ConfigurationError("raypipe submit needs Ray's job client: pip install 'raypipe[submit]'")
        self._client = self._connected()

    def _connected(self) -> Any:
        url = urlsplit(self._address)
        port = url.port or (443 if url.scheme == "https" else 80)
        environment = ray_settings.Environment()
        environment.set(
            {"RAY_ADDRESS": None, "RAY_API_SERVER_ADDRESS": None, **ray_settings.token_mode()}
        )  # both outrank an argument
        try:
            require_token(f"{url.hostname}:{port}")
            required_answer(url.hostname or "", port, "is the head of the Ray cluster running, with its dashboard (ray[default])?")
            with self._told():
                from ray.job_submission import JobSubmissionClient

                return JobSubmissionClient(self._address)
        finally:
            environment.restore()

    def jobs(self, pipeline: str) -> Sequence[Job]:
        """Return the jobs of a pipeline, oldest first."""
        with self._told():
            found = [_job(one) for one in self._client.list_jobs()]
        ours = [one for one in found if one is not None and one.pipeline == pipeline]
        return sorted(ours, key=lambda one: (one.started_us or 0, one.attempt))

    def job(self, job_id: str) -> Job:
        """Return a job of raypipe. Raises StopError where there is none of this id."""
        with self._told():
            found = _job(self._client.get_job_info(job_id))
        if found is None:
            raise StopError(f"the job {job_id} of {self._address} is none of raypipe")
        return found

    def start(self, job_id: str, command: str, metadata: Mapping[str, str], folder: str, modules: Sequence[str]) -> bool:
        """Start a job with copies of a folder and of Python packages; False where the id is taken by another.

        Nothing secret may be in it: Ray shows commands and metadata to all who see the cluster, and writes the variables
        of an environment into its logs.
        """
        environment = {
            "working_dir": folder,
            "py_modules": list(modules),
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_GRACE_S}"},
        }
        try:
            with self._told():
                self._client.submit_job(entrypoint=command, submission_id=job_id, metadata=dict(metadata), runtime_env=environment)
        except StopError as error:
            if f"submission_id {job_id} already exists" in str(error):
                return False
            raise
        return True

    def logs(self, job_id: str) -> str:
        """Return what a job has printed; nothing before it runs."""
        try:
            with self._told():
                return str(self._client.get_job_logs(job_id))
        except StopError:
            if self.job(job_id).state is JobState.PENDING:
                return ""
            raise

    def follow(self, job_id: str, show: Callable[[str], None]) -> Job:
        """Show what a job prints until it has ended. What it printed before is shown too."""
        shown, answered_s = 0, time.monotonic()
        while True:
            try:
                job = self.job(job_id)  # before its log, which is then complete when it has ended
                text = "" if job.state is JobState.PENDING else self.logs(job_id)
                answered_s = time.monotonic()
            except StopError as error:
                if time.monotonic() - answered_s > SILENCE_MAX_S:
                    raise StopError(f"{error}; where the cluster still runs, so does {job_id}") from error
            else:
                if text[shown:]:
                    show(text[shown:])
                shown = len(text)
                if job.state.ended:
                    return job
            time.sleep(POLL_S)

    def stop(self, job_id: str) -> Job:
        """Tell a job to stop, as SIGTERM does, and wait until it has ended."""
        with self._told():
            self._client.stop_job(job_id)
        until_s = time.monotonic() + STOP_WAIT_S
        while not (job := self.job(job_id)).state.ended:
            if time.monotonic() > until_s:
                raise StopError(f"{job_id} was told to stop and has not ended within {STOP_WAIT_S:g} s")
            time.sleep(POLL_S)
        return job

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the client raises into errors of ours, and keep it from talking."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            with _quiet():
                yield
        except RaypipeError:
            raise
        except AuthenticationError as error:
            raise not_let_in(self._address) from error
        except (ConnectionError, requests.RequestException) as error:
            raise StopError(f"the job server at {self._address} does not answer ({error})") from error
        except (RuntimeError, ValueError) as error:
            raise StopError(f"the job server at {self._address} refused: {error}") from error


def checked_job_address(address: str | None) -> str:
    """Return the address of a job server, that of the environment where none is given; raise UsageError for another kind."""
    named = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or ""
    if not named.startswith(("http://", "https://")) or not urlsplit(named).hostname:
        got = f"got {named!r}" if named else "it is missing"
        raise UsageError(f"--address: {got}; expected the address of Ray's job server, such as http://head:8265")
    return named.rstrip("/")


def _job(details: Any) -> Job | None:
    return job_of(
        details.submission_id or "",
        details.metadata or {},
        JobState(details.status.value),
        started_us=_us(details.start_time),
        ended_us=_us(details.end_time),
        returned=details.driver_exit_code,
        message=(details.message or "").partition("\n")[0],
    )


def _us(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds * 1000


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's client from telling each package that it sends."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
