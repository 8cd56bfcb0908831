"""Forks: processes that have raypipe and its engines imported already, so that a test can afford hundreds of them.

A server imports and never uses them, which would start threads that a fork does not take along; each request runs in a fork.
Run as a program it is that server: it reads one JSON request a line and answers each with a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMPORTED = (
    "polars, duckdb, pyarrow.csv, pyarrow.parquet, sqlite3, raypipe.cli.run, raypipe.config.load, raypipe.launch.run_verb, "
    "raypipe.testing.oracle, raypipe.engine.shard_run, raypipe.engine.stage_store, raypipe.sources.files, "
    "raypipe.sources.route_file, raypipe.destinations.duckdb_commit, raypipe.destinations.file_claims"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (negative: by a signal) and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Process:
    """A fork under way."""

    server: Server
    pid: int
    said: Path

    def wait(self) -> Ended:
        """Wait for its end."""
        (code,) = self.server.ask({"wait": self.pid})
        return Ended(code, self._text("out"), self._text("err"))

    def _text(self, stream: str) -> str:
        """Return what it said; nothing where it was killed before it could say anything."""
        file = self.said / stream
        return file.read_text(errors="replace") if file.exists() else ""

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Server:
    """Starts processes. Made by `fork_server`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._started = 0

    def ask(self, request: Mapping[str, Any]) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: list[int] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, code: str, cwd: Path, **environment: str) -> Process:
        """Run Python code in a fork, in a process group of its own."""
        self._started += 1
        said = self._folder / str(self._started)
        said.mkdir()
        (pid,) = self.ask({"code": code, "cwd": str(cwd), "environment": environment, "said": str(said)})
        return Process(self, pid, said)

    def cli(self, *arguments: str, cwd: Path, before: str = "", **environment: str) -> Process:
        """Run the command line; `before` is Python that runs first."""
        code = f"{before}\nimport sys\nfrom raypipe.cli import main\nsys.argv = {['raypipe', *arguments]!r}\nsys.exit(main())"
        return self.start(code, cwd, **environment)


@contextlib.contextmanager
def fork_server() -> Iterator[Server]:
    """Yield a server; it and its forks are gone afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "COV_CORE"))}
    with tempfile.TemporaryDirectory(prefix="raypipe-forks-") as folder:
        command = [sys.executable, __file__]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield Server(process, Path(folder))
            finally:
                process.kill()


# ---- in the server ----------------------------------------------------------------------------------------


def serve() -> None:
    exec(f"import {IMPORTED}")  # here alone: who uses the server stays light
    for line in sys.stdin:
        request = json.loads(line)
        answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]) if "wait" in request else _fork(request)
        sys.stdout.write(json.dumps([answer]) + "\n")
        sys.stdout.flush()


def _fork(request: Mapping[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(Path(request["said"]) / name, os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.path.insert(0, str(ROOT))
        try:
            exec(request["code"], {"__name__": "__main__"})
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
