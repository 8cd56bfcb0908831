"""`submit`: the same run as a job of a Ray cluster, started from any machine that reaches the cluster's job server."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from raypipe import __version__
from raypipe.core.submission import Attach, Finished, Job, Start, Submission, decide_submission
from raypipe.errors import UsageError
from raypipe.launch.package import START, START_SCRIPT, Package, pipeline_package, raypipe_package
from raypipe.launch.parts import scratch_index
from raypipe.launch.plan_verb import planner
from raypipe.launch.reports import Ask
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.sources.versions import stat_of

if TYPE_CHECKING:
    from raypipe.runtime.job_server import JobServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What is to be run elsewhere: a pipeline as it was named and loaded here, and what is asked of it."""

    pipeline: Pipeline
    target: str
    profile: str | None = None
    overrides: tuple[str, ...] = ()
    ask: Ask
    words: tuple[str, ...]
    """The ask as the command line says it: `run --start 2013-01-01`."""

    @property
    def command(self) -> str:
        """The command line of the job. Data stand where they stand here; references to secrets stand as they were written."""
        profile = ["--profile", self.profile] if self.profile else []
        overrides = [word for one in (*self.overrides, "run.address=null") for word in ("--set", one)]
        target = Path(self.target).name if Path(self.target).exists() else self.target
        folder = str(self.pipeline.data_folder or self.pipeline.folder)
        verb, *options = self.words
        return shlex.join(["exec", "sh", START_SCRIPT, verb, target, *profile, *overrides, "--folder", folder, *options])

    def submission(self, package: Package) -> Submission:
        """Return the identity of the errand. The source counts as far as it is seen from here."""
        with scratch_index(self.pipeline) as parts:
            planner(parts, self.ask)  # refuses an empty window here, not on the cluster
            ready = parts.ready.window
            seen = [[one.uri, one.size_bytes, stat_of(one.version)] for one in parts.source.list().files]
        request = [self.command, package.digest, __version__]
        return Submission.of(self.pipeline.name, request=request, now=[ready.as_json() if ready else None, sorted(seen)])


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """What became of a request, and the job that answers it."""

    what: Literal["started", "resumed", "attached", "finished"]
    job: Job


def submit(errand: Errand, address: str | None, *, again: bool = False) -> SubmitReport:
    """Start the errand on a cluster, unless it is being done or is done there."""
    package = pipeline_package(errand.pipeline, errand.target)
    submission = errand.submission(package)
    server = job_server(address)
    decision = decide_submission(submission, server.jobs(errand.pipeline.name), again=again)
    match decision:
        case Attach(job):
            return SubmitReport("attached", job)
        case Finished(job):
            return SubmitReport("finished", job)
        case Start(attempt, after):
            job_id = submission.job_id(attempt)
            started = _start(server, job_id, errand.command, submission.metadata(attempt), package)
            what: Literal["started", "resumed"] = "resumed" if after else "started"
            return SubmitReport(what if started else "attached", server.job(job_id))


def _start(server: JobServer, job_id: str, command: str, metadata: dict[str, str], package: Package) -> bool:
    with tempfile.TemporaryDirectory(prefix="raypipe-submit-") as made:
        folder, modules = Path(made, "pipeline"), Path(made, "modules")
        package.write(folder)
        (folder / START_SCRIPT).write_text(START)
        raypipe_package().write(modules)
        return server.start(job_id, command, metadata, str(folder), [str(modules / "raypipe")])


def job_server(address: str | None) -> JobServer:
    """Return the job server at an address, or at that of the environment. Ray is imported only here."""
    from raypipe.runtime.job_server import JobServer

    return JobServer(address)


def submitted_jobs(pipeline: Pipeline, address: str | None) -> Sequence[Job]:
    """Return the jobs of a pipeline that a cluster knows, oldest first."""
    return job_server(address).jobs(pipeline.name)


def follow_job(job: Job, address: str | None, show: Callable[[str], None]) -> Job:
    """Show what a job prints until it has ended; return how it ended."""
    return job_server(address).follow(job.job_id, show)


def job_logs(job: Job, address: str | None) -> str:
    """Return what a job has printed."""
    return job_server(address).logs(job.job_id)


def cancel_job(job: Job, address: str | None) -> Job:
    """Stop a job as SIGTERM stops a run: the commit under way ends; return how it ended."""
    return job if job.state.ended else job_server(address).stop(job.job_id)


def chosen_job(jobs: Sequence[Job], job_id: str | None, pipeline: str) -> Job:
    """Return the job of an id, or the newest. Raises UsageError where there is none."""
    named = [job for job in jobs if job_id in (None, job.job_id)]
    if not named:
        known = f"; known are {', '.join(job.job_id for job in jobs)}" if jobs else ""
        raise UsageError(f"the cluster knows no job {job_id or f'of the pipeline {pipeline}'}{known}")
    return named[-1]
