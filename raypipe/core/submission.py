"""Submissions: runs as jobs of a cluster, under ids that whoever asks for the same thing finds; and what a new request means."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Self

from raypipe.core.fingerprint import fingerprint
from raypipe.lazy_dataclass import dataclass

PREFIX = "raypipe"
DIGEST_LENGTH = 12  # hex digits of a plan in an id: a person compares them, and two plans of one pipeline never meet
EXIT_STOPPED = 143  # a job that was told to stop got SIGTERM
EXIT_UNKNOWN = 1  # a job that ended without an exit code: its machine or its supervisor died
SIGNALLED = 128  # what a shell adds to the number of the signal that ended a process


class JobState(enum.StrEnum):
    """How far a job is, in the words of Ray."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will happen."""
        return self not in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Submission:
    """What is asked of a cluster."""

    pipeline: str
    request: str
    """Fingerprint of what was asked: the command, and the configuration, code and reference files that travel."""
    plan: str
    """Fingerprint of what that means now: the request, which time is ready, and the source as far as it is seen from here."""

    @classmethod
    def of(cls, pipeline: str, *, request: object, now: object) -> Self:
        """Return the submission of plain values."""
        asked = fingerprint([pipeline, request])
        return cls(pipeline, asked, fingerprint([asked, now]))

    def job_id(self, attempt: int) -> str:
        """Return the id of an attempt. A job server takes each id once, so that of two at once one is refused."""
        return f"{PREFIX}-{self.pipeline}-{self.plan[:DIGEST_LENGTH]}-{attempt}"

    def metadata(self, attempt: int) -> dict[str, str]:
        """Return what a job tells of itself, by which it is found again."""
        return {
            "raypipe_pipeline": self.pipeline,
            "raypipe_request": self.request,
            "raypipe_plan": self.plan,
            "raypipe_attempt": str(attempt),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An attempt at a submission, as the job server tells of it."""

    job_id: str
    pipeline: str
    request: str
    plan: str
    attempt: int
    state: JobState
    started_us: int | None = None
    ended_us: int | None = None
    returned: int | None = None
    """What its process returned; negative for the signal that ended it."""
    message: str = ""

    @property
    def exit_code(self) -> int | None:
        """What the run returned, None while it goes on."""
        if not self.state.ended:
            return None
        if self.state is JobState.STOPPED:
            return EXIT_STOPPED
        if self.returned is None:
            return 0 if self.state is JobState.SUCCEEDED else EXIT_UNKNOWN
        return SIGNALLED - self.returned if self.returned < 0 else self.returned


def job_of(job_id: str, metadata: Mapping[str, str], state: JobState, **facts: object) -> Job | None:
    """Return a job of raypipe, None for one of others."""
    try:
        return Job(
            job_id=job_id,
            pipeline=metadata["raypipe_pipeline"],
            request=metadata["raypipe_request"],
            plan=metadata["raypipe_plan"],
            attempt=int(metadata["raypipe_attempt"]),
            state=state,
            **facts,  # type: ignore[arg-type]
        )
    except (KeyError, ValueError):
        return None


# ---- what a new request means -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Nobody does it: an attempt is started; `after` is the one that failed before, which it resumes."""

    attempt: int
    after: Job | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """The same is being done already."""

    job: Job


@dataclass(frozen=True, slots=True)
class Finished:
    """It is done, and as far as can be seen from here nothing has come since."""

    job: Job


def decide_submission(wanted: Submission, jobs: Sequence[Job], *, again: bool = False) -> Start | Attach | Finished:
    """Decide from the jobs that a cluster knows; with `again`, what is finished is done once more.

    A job of the same request that still runs is the one that was asked for, even where new input has come since.
    """
    ours = sorted((job for job in jobs if job.pipeline == wanted.pipeline), key=lambda job: (job.started_us or 0, job.attempt))
    running = [job for job in ours if job.request == wanted.request and not job.state.ended]
    if running:
        return Attach(running[-1])
    same = [job for job in ours if job.plan == wanted.plan]
    if not same:
        return Start(1)
    last = max(same, key=lambda job: job.attempt)
    if last.state is JobState.SUCCEEDED and not again:
        return Finished(last)
    return Start(last.attempt + 1, None if last.state is JobState.SUCCEEDED else last)
