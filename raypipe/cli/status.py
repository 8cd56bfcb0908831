"""The verb `status`."""

from __future__ import annotations

from raypipe.cli.options import Shared, config_argument, verb


@verb("status", example="raypipe status pipeline.yaml")
@config_argument
def status(shared: Shared, config: str) -> None:
    """Show where a pipeline stands.

    Watermark, coverage, gaps, row accounts, last runs, and what is late, held, stale (with what changed), failed, waits for
    its files, or was cut at another width.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import status_document
    from raypipe.runtime.system_clock import SystemClock

    report = launch.status(shared.load(config))
    shared.out.document(status_document(report))
    if not shared.out.as_json:
        from raypipe.cli.tables import status_tables

        shared.out.show(status_tables(report, SystemClock().now_us()))
