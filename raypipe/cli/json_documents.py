"""JSON documents: reports as the interface promises them. Keys are stable; times are ISO 8601 in UTC, ending in `Z`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from raypipe.core.window import iso, to_us

if TYPE_CHECKING:
    from raypipe.core.state import RunRecord
    from raypipe.core.window import Window
    from raypipe.launch import AcceptReport, CheckReport, CompactReport, GcReport, PlanReport, RunReport, StatusReport
    from raypipe.launch.reports import UpstreamReport
    from raypipe.ports import Check

Document = dict[str, Any]


def plan_document(report: PlanReport) -> Document:
    """Return what a run would do."""
    plan = report.plan
    return {
        "pipeline": report.pipeline.name,
        "window": report.window.as_json() if report.window else None,
        "state": {"commit_seq": report.snapshot.commit_seq, "watermark": _instant(report.snapshot.watermark_us)},
        "shards": [
            {
                "index": shard.index,
                **shard.window.as_json(),
                "reason": shard.reason.value,
                **({"outputs": list(shard.outputs)} if shard.outputs else {}),
                "estimated_rows": shard.rows,
                "estimated_bytes": shard.size_bytes,
            }
            for shard in plan.shards
        ],
        "failures": [{**one.window.as_json(), "code": one.code, "error": one.error} for one in plan.failures],
        "stale": _with_reasons(plan.stale),
        "held": _with_reasons(plan.held),
        "waiting": _windows(plan.waiting),
        "views": list(report.views),
        "upstream": _upstream(report.upstream),
        "executor": report.executor,
        "estimated_seconds": report.estimated_seconds,
        "memory_bytes": report.memory_bytes,
    }


def run_document(report: RunReport) -> Document:
    """Return how a run or backfill ended."""
    closed = report.closed
    return {
        "pipeline": report.pipeline.name,
        "run_id": report.run_id,
        "status": closed.status,
        "executor": report.executor,
        "window": closed.window.as_json() if closed.window else None,
        "shards": {
            "planned": closed.planned,
            "committed": closed.committed,
            "failed": closed.failed,
            "skipped": closed.skipped,
        },
        "rows": closed.rows.as_json(),
        "seconds": round(closed.seconds, 6),
        "watermark": _instant(closed.watermark_us),
        "failures": [{**one.window.as_json(), "code": one.code, "error": one.error} for one in closed.failures],
        "filtered": dict(report.filtered),
        "quarantine": rows_document(report.quarantine),
        "tables": _tables(report.tables),
        "bytes": {"input": report.bytes_input, "read": report.bytes_read},
        "warnings": list(report.warnings),
    }


def status_document(report: StatusReport) -> Document:
    """Return where a pipeline stands."""
    snapshot = report.snapshot
    return {
        "pipeline": report.pipeline.name,
        "watermark": _instant(snapshot.watermark_us),
        "coverage": _windows(report.coverage),
        "gaps": _windows(report.gaps),
        "late": _windows(report.late),
        "held": _with_reasons(report.held),
        "stale": _with_reasons(report.stale),
        "failed": [{**one.window.as_json(), "code": one.code, "error": one.error, "run_id": one.run_id} for one in report.failed],
        "waiting": _windows(report.waiting),
        "upstream": _upstream(report.upstream),
        "other_widths": [
            {**window.as_json(), "shards": number, "tables": list(report.cut_tables)} for window, number in report.other_widths
        ],
        "rows": snapshot.accounts.as_json(),
        "outside": snapshot.outside,
        "tables": _tables(report.tables),
        "quarantine": rows_document(report.quarantine),
        "runs": [_run(one) for one in snapshot.runs],
    }


def _upstream(report: UpstreamReport | None) -> Document | None:
    if report is None:
        return None
    return {
        "table": report.table,
        "pipeline": report.pipeline,
        "watermark": _instant(report.watermark_us),
        "waiting": report.waiting.as_json() if report.waiting else None,
    }


def accept_document(report: AcceptReport) -> Document:
    """Return what was accepted."""
    return {
        "pipeline": report.pipeline.name,
        "run_id": report.run_id,
        "what": report.what,
        "accepted": _windows(report.accepted),
        "conflicts": _windows(report.conflicts),
    }


def compact_document(report: CompactReport) -> Document:
    """Return what live ranges became one, or would."""
    found = report.found
    return {
        "pipeline": report.pipeline.name,
        "run_id": found.run_id,
        "planned": [{**one.window.as_json(), "ranges": len(one.merged)} for one in found.plan.compactions],
        "compacted": _windows(found.done),
        "conflicts": _windows(found.conflicts),
        "left": _with_reasons(found.plan.left),
        "contributions": [
            {"table": table, "before": before, "after": after} for table, (before, after) in report.contributions.items()
        ],
    }


def verify_document(checks: Iterable[Check]) -> Document:
    """Return what was proved."""
    found = [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in checks]
    return {"ok": all(one["ok"] for one in found), "checks": found}


def check_document(pipeline: str, report: CheckReport) -> Document:
    """Return what is wrong with a configuration."""
    return {
        "pipeline": pipeline,
        "ok": not report.problems,
        "problems": list(report.problems),
        "warnings": list(report.warnings),
    }


def sample_document(pipeline: str, stages: Iterable[tuple[str, Sequence[str], Sequence[Sequence[Any]], int]]) -> Document:
    """Return the rows of one shard at each stage."""
    return {
        "pipeline": pipeline,
        "stages": [
            {"name": name, "columns": list(columns), "rows": [[_plain(one) for one in row] for row in rows], "rows_in_all": total}
            for name, columns, rows, total in stages
        ],
    }


def quarantine_document(pipeline: str, rows: Iterable[Mapping[str, Any]], key: str) -> Document:
    """Return quarantined rows, or their counts, under `key`."""
    return {"pipeline": pipeline, key: rows_document(rows)}


def gc_document(pipeline: str, report: GcReport) -> Document:
    """Return what was removed."""
    return {"pipeline": pipeline, "folders": report.folders, "size_bytes": report.size_bytes, "blanked": report.blanked}


def rows_document(rows: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Return rows of the destination as JSON: times as text, bytes as hex."""
    return [{str(key).removesuffix("_us"): _named(key, value) for key, value in row.items()} for row in rows]


def _named(key: str, value: Any) -> Any:
    return iso(value) if key.endswith("_us") and isinstance(value, int) else _plain(value)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    return value.as_json() if hasattr(value, "as_json") else str(value)


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (float, lambda number: number if isfinite(number) else str(number)),  # JSON knows neither NaN nor infinities
    (datetime, lambda moment: iso(to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))),
    (date, date.isoformat),
    (bytes, bytes.hex),
    (Mapping, lambda found: {str(key): _plain(one) for key, one in found.items()}),
    ((list, tuple), lambda items: [_plain(one) for one in items]),
)


def _instant(us: int | None) -> str | None:
    return None if us is None else iso(us)


def _windows(windows: Iterable[Window]) -> list[Document]:
    return [dict(one.as_json()) for one in windows]


def _with_reasons(ranges: Iterable[tuple[Window, str]]) -> list[Document]:
    return [{**window.as_json(), "reason": reason} for window, reason in ranges]


def _tables(tables: Mapping[str, int]) -> list[Document]:
    return [{"name": name, "rows": rows} for name, rows in tables.items()]


def _run(record: RunRecord) -> Document:
    return {
        "run_id": record.run_id,
        "kind": record.kind.value,
        "state": record.state.value,
        "window": record.window.as_json() if record.window else None,
        "started": iso(record.started_us),
        "ended": _instant(record.ended_us),
        "heartbeat": iso(record.heartbeat_us),
        "epoch": record.epoch,
        "holder": record.holder,
        "committed": record.committed,
        "failed": record.failed,
    }
