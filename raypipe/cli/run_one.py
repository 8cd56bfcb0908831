"""One run at the command line: progress while it goes on, signals, log, and its summary or document at the end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.cli.exits import EXIT_TERMINATED
from raypipe.cli.options import Shared
from raypipe.cli.stopping import signals_stop
from raypipe.errors import Interrupted

if TYPE_CHECKING:
    from raypipe.launch import Ask, RunReport
    from raypipe.pipeline import Pipeline
    from raypipe.ports import StopFlag


def run_one(shared: Shared, config: str, pipeline: Pipeline, ask: Ask, stop: StopFlag) -> int:
    """Run one pipeline, show how it goes and how it ended; return its exit code."""
    from raypipe import launch
    from raypipe.observe.log import Log
    from raypipe.observe.prepared import Prepared
    from raypipe.observe.progress import display_on
    from raypipe.observe.several import Several
    from raypipe.runtime.system_clock import SystemClock

    clock = SystemClock()
    log = Log(Path(f"{pipeline.destination.path}.raypipe", "logs"), clock)
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    display = display_on(sys.stderr, clock, terminal=terminal, quiet=shared.out.quiet)
    try:
        with signals_stop(stop):
            observer = Several([log, display, Prepared(shown=not shared.out.quiet)], shared.out.note)
            report = launch.run(pipeline, ask, observer=observer, stop=stop, own_process=True)
    except Interrupted as error:
        error.exit_code = EXIT_TERMINATED if stop.signal == "SIGTERM" else error.exit_code
        raise
    finally:
        display.close()
        log.close()
    _show(shared, report, shared.command(config), backfill=ask.kind == "backfill")
    return report.exit_code


def _show(shared: Shared, report: RunReport, command: str, *, backfill: bool) -> None:
    from raypipe.cli.json_documents import run_document
    from raypipe.observe.ending import Ending, nothing_to_do

    shared.out.document(run_document(report))
    if shared.out.quiet:
        return
    ending = Ending(
        pipeline=report.pipeline.name,
        run_id=report.run_id,
        executor=report.executor,
        closed=report.closed,
        command=command,
        backfill=backfill,
        quarantine=report.quarantine,
        filtered=report.filtered,
        tables=report.tables,
        bytes_input=report.bytes_input,
        bytes_read=report.bytes_read,
        warnings=report.warnings,
    )
    if report.closed.status == "done" and not report.closed.planned:
        shared.out.result_line(nothing_to_do(ending))
        return
    from raypipe.observe.summary import summary

    shared.out.result(summary(ending))
