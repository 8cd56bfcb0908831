"""The verb `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raypipe.cli.options import Shared, verb
from raypipe.cli.several import configs_argument, load_set

if TYPE_CHECKING:
    from raypipe.launch import StatusReport


@verb("status", example="raypipe status pipeline.yaml")
@configs_argument
def status(shared: Shared, configs: tuple[str, ...]) -> None:
    """Show where a pipeline stands.

    Watermark, coverage, gaps, row accounts, last runs, and what is late, held, stale (with what changed), failed, waits for
    its files or for the table that it reads, or was cut at another width. Several are shown in the order of a run.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import status_document

    found = load_set(shared, configs)
    documents = []
    for _, _, pipeline in found.in_order():
        report = launch.status(pipeline)
        documents.append(status_document(report))
        _show(shared, report)
    shared.out.document(documents[0] if found.is_one else {"pipelines": documents})


def _show(shared: Shared, report: StatusReport) -> None:
    if not shared.out.as_json:
        from raypipe.cli.tables import status_tables
        from raypipe.runtime.system_clock import SystemClock

        shared.out.show(status_tables(report, SystemClock().now_us()))
