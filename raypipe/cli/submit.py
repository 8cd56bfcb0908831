"""The verb `submit`: the same run or backfill as a job of a Ray cluster, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from raypipe.cli.backfill_range import BackfillRange, backfill_options, window_words
from raypipe.cli.options import ExecutorName, Shared, config_argument, instants, verb
from raypipe.core.window import iso
from raypipe.errors import Interrupted

if TYPE_CHECKING:
    from raypipe.core.submission import Job
    from raypipe.launch import Ask, SubmitReport
    from raypipe.pipeline import Pipeline

SAID = {
    "started": "{job} was started",
    "resumed": "{job} was started; it resumes what the attempt before it left",
    "attached": "{job} does the same already",
    "finished": "{job} has done it, and nothing new is seen from here; --again does it once more",
}


def looking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that look at jobs instead of starting one."""
    options = [
        click.option("--status", "looking", flag_value="status", help="Show the pipeline's jobs, and start none."),
        click.option("--logs", "looking", flag_value="logs", help="Show what the newest job printed, and start none."),
        click.option("--cancel", "looking", flag_value="cancel", help="Stop the newest job as SIGTERM stops a run."),
        click.option("--job", "job_id", metavar="ID", help="With --logs or --cancel: this job instead of the newest."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@verb("submit", example="raypipe submit pipeline.yaml --address http://head:8265 --wait")
@config_argument
@backfill_options
@click.option("--backfill", is_flag=True, help="With --start and --end: do the range again, instead of what is due in it.")
@click.option("--executor", type=click.Choice(["auto", "inline", "ray"]), help="Where the work is done.")
@click.option("--address", metavar="URL", help="The cluster's job server: http://head:8265 (else RAY_API_SERVER_ADDRESS).")
@click.option("--wait", is_flag=True, help="Show how it goes, and return the exit code of the run.")
@click.option("--again", is_flag=True, help="Also when the same is finished.")
@looking_options
def submit(
    shared: Shared,
    config: str,
    asked: BackfillRange,
    backfill: bool,
    executor: ExecutorName | None,
    address: str | None,
    wait: bool,
    again: bool,
    looking: str | None,
    job_id: str | None,
) -> int:
    """Run or backfill as a job of a Ray cluster.

    Configuration, Python and reference files of the pipeline's folder travel with the job, and raypipe itself; data stay
    where they are. What is being done already is attached to, what failed is resumed.

    `${env:NAME}` is read in the cluster's environment and `${file:path}` on its machines: secrets do not travel.

    Ctrl-C with --wait leaves the job running; --cancel stops it.
    """
    from raypipe import launch

    backfill = backfill or asked.only_a_backfill_has_it
    if backfill and not looking:
        asked.require_one()
    pipeline = shared.load(config, elsewhere=True)
    if looking or job_id:
        return _look(shared, pipeline, launch.submitted_jobs(pipeline, address), address, looking or "status", job_id)
    ask, words = _ask(asked, pipeline, backfill=backfill)
    words += ("--executor", executor) if executor else ()
    errand = launch.Errand(
        pipeline=pipeline, target=config, profile=shared.profile, overrides=shared.overrides, ask=ask, words=words
    )
    report = launch.submit(errand, address, again=again)
    if not shared.out.quiet:
        shared.out.note(SAID[report.what].format(job=report.job.job_id))
    ended = _followed(shared, report, address) if wait else report.job
    shared.out.document({"pipeline": pipeline.name, "what": report.what, "job": job_document(ended)})
    if not wait:
        shared.out.line(ended.job_id)
        return 0
    return _exit_code(shared, ended)


def _ask(asked: BackfillRange, pipeline: Pipeline, *, backfill: bool) -> tuple[Ask, tuple[str, ...]]:
    from raypipe import launch

    if backfill:
        return asked.ask(pipeline, None, None), ("backfill", *asked.words)
    start_us, end_us = instants(pipeline, asked.start, asked.end)
    return launch.Ask(start_us=start_us, end_us=end_us), ("run", *window_words(asked.start, asked.end))


def _followed(shared: Shared, report: SubmitReport, address: str | None) -> Job:
    from raypipe import launch

    try:
        return launch.follow_job(report.job, address, shared.out.printed)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer waiting; {report.job.job_id} goes on: the same command attaches to it, --cancel stops it"
        ) from None


def _look(shared: Shared, pipeline: Pipeline, jobs: Sequence[Job], address: str | None, looking: str, job_id: str | None) -> int:
    from raypipe import launch

    if looking == "status":
        shown = [job for job in jobs if job_id in (None, job.job_id)]
        shared.out.document({"pipeline": pipeline.name, "jobs": [job_document(job) for job in shown]})
        for job in shown:
            shared.out.line(job_line(job))
        return 0
    job = launch.chosen_job(jobs, job_id, pipeline.name)
    if looking == "logs":
        text = launch.job_logs(job, address)
        shared.out.document({"pipeline": pipeline.name, "job": job_document(job), "log": text})
        shared.out.line(text.rstrip("\n"))
        return 0
    ended = launch.cancel_job(job, address)
    shared.out.document({"pipeline": pipeline.name, "job": job_document(ended)})
    shared.out.line(job_line(ended))
    return 0


def _exit_code(shared: Shared, job: Job) -> int:
    if job.returned is None and job.message:  # it ended before the run could say anything, or with its machine
        shared.out.note(f"{job.job_id}: {job.state}: {job.message}")
    return job.exit_code or 0


def job_document(job: Job) -> dict[str, Any]:
    """Return a job as the interface promises it."""
    return {
        "id": job.job_id,
        "state": job.state.value.lower(),
        "attempt": job.attempt,
        "started": None if job.started_us is None else iso(job.started_us),
        "ended": None if job.ended_us is None else iso(job.ended_us),
        "exit_code": job.exit_code,
    }


def job_line(job: Job) -> str:
    """Return a job in one line."""
    when = [f"{name} {iso(us)}" for name, us in (("started", job.started_us), ("ended", job.ended_us)) if us is not None]
    code = [] if job.exit_code is None else [f"exit code {job.exit_code}"]
    return ", ".join([f"{job.job_id}: {job.state.value.lower()}", *when, *code])
