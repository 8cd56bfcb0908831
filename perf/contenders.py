"""Contenders that are raypipe: a pipeline written into the scratch folder and run there as a user would."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from perf.bench import Contender
from perf.canonical import pipeline_text, run_command
from perf.events import Events

CONFIG, DESTINATION = "pipeline.yaml", "out.duckdb"
INLINE = ("--executor", "inline")


def raypipe(
    name: str,
    text: Callable[[Path], str],
    *options: str,
    prepare: Callable[[Path], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Contender:
    """Return a run of the pipeline whose text is made for its scratch folder; inline unless the options say otherwise."""

    def make_ready(folder: Path) -> None:
        (folder / CONFIG).write_text(text(folder))
        if prepare is not None:
            prepare(folder)

    chosen = options or INLINE
    return Contender(name, lambda folder: run_command(folder / CONFIG, *chosen), make_ready, environment or {})


def canonical(
    name: str, events: Events, *options: str, output: str = "sql", environment: Mapping[str, str] | None = None
) -> Contender:
    """Return the canonical job over such events."""
    return raypipe(
        name, lambda folder: pipeline_text(events, folder / DESTINATION, output=output), *options, environment=environment
    )  # fmt: skip


def restore(state: Path) -> Callable[[Path], None]:
    """Return what copies a destination with its state folder into a scratch folder."""

    def copy(folder: Path) -> None:
        shutil.copytree(state, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CONFIG))

    return copy


def python(*words: str) -> list[str]:
    """Return a command of this interpreter."""
    return [sys.executable, *words]


def in_shell(commands: Sequence[Sequence[str]], *, at_once: bool) -> list[str]:
    """Return one command that runs several: at once, or one after the other; it fails where one of them does."""
    lines = [shlex.join(words) for words in commands]
    if not at_once:
        return ["sh", "-ec", "\n".join(lines)]
    started = "\n".join(f'{line} & pids="$pids $!"' for line in lines)
    return ["sh", "-ec", f'{started}\nfor pid in $pids; do wait "$pid"; done']
