"""Log: one JSON line for each event of a run, in `<state folder>/logs/<run_id>.jsonl`, for scripts and for afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from raypipe.core.accounts import total
from raypipe.core.events import RunEvent, RunOpened, TaskStarted
from raypipe.core.shard import Shard, ShardResult, Slice
from raypipe.core.window import Window, iso
from raypipe.ports import Clock

LISTED_MAX = 1000  # shards of a line that are listed; of more the line tells the count, and those that have something to tell
EARLY_EVENTS_MAX = 1000  # events before the run has its name are kept until its file can be opened


class Log:
    """Writes the events of one run as JSON lines. Best effort: what cannot be written is not."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._file: TextIO | None = None
        self._early: list[str] = []

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        line = json.dumps(as_document(event, self._clock.now_us()), ensure_ascii=True)
        if isinstance(event, RunOpened):
            self._open(event.run_id)
        if self._file is None:
            self._early = [*self._early, line][-EARLY_EVENTS_MAX:]
            return
        self._file.write(line + "\n")
        if not isinstance(event, TaskStarted):
            self._file.flush()

    def close(self) -> None:
        """Close the file, also after a run that ended by an error."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, run_id: str) -> None:
        self.close()  # a run is opened again by a driver that takes it over
        self._folder.mkdir(parents=True, exist_ok=True)
        safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in run_id).lstrip(".")
        self._file = (self._folder / f"{safe}.jsonl").open("a", encoding="utf-8")
        self._file.writelines(line + "\n" for line in self._early)
        self._early = []


def as_document(event: RunEvent, now_us: int) -> dict[str, Any]:
    """Return the line of an event: when, its name, and its fields as JSON; times in ISO 8601 UTC."""
    return {"at": iso(now_us), "event": type(event).__name__, **_fields(event)}


def _fields(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if field.name.endswith("_us"):
            found[field.name.removesuffix("_us")] = None if inner is None else iso(inner)
        elif field.name in ("shards", "results", "outcomes") and len(inner) > LISTED_MAX:
            found[f"{field.name}_count"] = len(inner)
            if field.name == "results":
                found["rows"] = total(one.accounts for one in inner).as_json()
                found["results"] = [_result(one) for one in inner if one.broken or one.warnings]
        else:
            found[field.name] = _json(inner)
    return found


def _result(result: ShardResult) -> dict[str, Any]:
    return {
        **result.window.as_json(),
        "rows": result.accounts.as_json(),
        "outputs": {name: stat.rows for name, stat in result.outputs.items()},
        "broken": dict(result.broken),
        "warnings": list(result.warnings),
        "seconds": result.seconds,
    }


def _shard(shard: Shard) -> dict[str, Any]:
    return {"index": shard.index, **shard.window.as_json(), "reason": shard.reason.value, "rows": shard.rows}


_PLAIN = frozenset({str, int, float, bool, type(None)})
_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Window, Window.as_json),
    (Shard, _shard),
    (ShardResult, _result),
    (Slice, lambda piece: piece.file.uri),
    (Enum, lambda member: member.value),
    (Mapping, lambda found: {str(key): _json(one) for key, one in found.items()}),
    ((tuple, list, frozenset), lambda items: [_json(one) for one in items]),
)


def _json(value: Any) -> Any:
    if type(value) in _PLAIN:  # most are: they need not be compared with every form
        return value
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    return _fields(value) if is_dataclass(value) else value
