from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

import raypipe
from raypipe.cli.group import cli as command_line
from raypipe.launch import Ask, RunReport, StopFlag
from raypipe.launch.run_verb import run as launch_run

LONG_AGO_S = 10**9  # files that were written a moment ago are hashed; most tests want settled ones

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp", "amount": "float64", "note": "string"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(number, ...): the numbered faults that a test shows the answer to")


class Bench:
    """One pipeline in a folder: its input files, its runs, and what is in its destination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.duckdb"
        self._reader: duckdb.DuckDBPyConnection | None = None

    # ---- input ------------------------------------------------------------------------------------------------

    def write(self, name: str, content: str | bytes) -> Path:
        self.close()
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
        return path

    def parquet(self, name: str, table: Any, **options: Any) -> Path:
        import pyarrow.parquet as pq

        path = self.folder / name
        pq.write_table(table, path, **options)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
        return path

    def config(self, path: str, *, name: str = "pipeline.yaml", columns: Mapping[str, Any] | None = None, **sections: Any) -> Path:
        """Write the configuration; `sections` replace whole sections, dotted as `source__csv` one key of one."""
        self.close()
        kind = next(kind for kind in ("parquet", "csv", "jsonl") if f".{kind}" in path)
        document: dict[str, Any] = {
            "name": "faults",
            "time": {"column": "ts", "start": "2026-01-01", "end": "2026-01-04", "shard": "1d"},
            "source": {"kind": "files", "path": path, "format": kind, "columns": dict(COLUMNS if columns is None else columns)},
            "outputs": [{"table": "clean", "rows": "all"}],
            "destination": {"kind": "duckdb", "path": "out.duckdb"},
            "run": {"retries": {"attempts": 2, "delay": "0s"}},
        }
        for key, value in sections.items():
            section, _, inner = key.partition("__")
            if inner:
                document.setdefault(section, {})[inner] = value
            else:
                document[section] = value
        if not document["source"]["columns"]:
            del document["source"]["columns"]
        target = self.folder / name
        target.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
        return target

    # ---- runs -------------------------------------------------------------------------------------------------

    def load(self, *overrides: str, name: str = "pipeline.yaml") -> raypipe.Pipeline:
        self.close()
        return raypipe.load(str(self.folder / name), overrides=list(overrides))

    def run(self, *overrides: str, name: str = "pipeline.yaml", observer: Any = None) -> RunReport:
        return raypipe.run(self.load(*overrides, name=name), executor="inline", observer=observer)

    def done(self, *overrides: str, name: str = "pipeline.yaml", observer: Any = None) -> RunReport:
        """Run; everything must be committed, add up and be proven by `verify`."""
        report = self.run(*overrides, name=name, observer=observer)
        assert report.closed.failures == ()
        assert report.closed.status == "done"
        self.proven(name=name)
        return report

    def failed(self, *overrides: str, observer: Any = None) -> list[tuple[str, str]]:
        """Run; return code and text of each failed shard."""
        report = self.run(*overrides, observer=observer)
        assert report.closed.status == "failed"
        assert report.exit_code == 1
        return [(failure.code, failure.error) for failure in report.closed.failures]

    def planned_failures(self) -> list[tuple[str, str]]:
        """Plan only, which reads the files as a run does; return code and text of each shard that a run would fail."""
        return [(failure.code, failure.error) for failure in raypipe.plan(self.load()).plan.failures]

    def ask_run(self, ask: Ask, observer: Any) -> RunReport:
        return launch_run(self.load(), ask, observer=observer, stop=StopFlag())

    def proven(self, *, name: str = "pipeline.yaml") -> None:
        assert [check for check in raypipe.verify(self.load(name=name)) if not check.ok] == []

    # ---- what is there afterwards -----------------------------------------------------------------------------

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the destination. The file stays open for the next question, and is closed before anything else is done."""
        if self._reader is None:
            self._reader = duckdb.connect(str(self.out), read_only=True)
            self._reader.execute("SET TimeZone = 'UTC'")
        return self._reader.execute(sql).fetchall()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def column(self, sql: str) -> list[Any]:
        return [value for (value,) in self.query(sql)]

    def accounts(self) -> dict[str, int]:
        """The sum of the accounts of what is live, from the ledger itself."""
        names = ("read", "expanded", "loaded", "filtered", "duplicate", "quarantined")
        sums = ", ".join(f"coalesce(sum({name}), 0)::BIGINT" for name in names)
        (found,) = self.query(
            f"SELECT {sums} FROM _raypipe.shards JOIN (SELECT DISTINCT lo, hi, seq FROM _raypipe.live) USING (lo, hi, seq)"
        )
        accounts = dict(zip(names, found, strict=True))
        gone = accounts["loaded"] + accounts["filtered"] + accounts["duplicate"] + accounts["quarantined"]
        assert accounts["read"] + accounts["expanded"] == gone
        return accounts

    def aside(self) -> dict[int, tuple[str, str]]:
        """Rule and error of each quarantined row by its position, for pipelines of one file; nothing is set aside twice."""
        rows = self.query("SELECT position, rule, error FROM _raypipe.quarantine ORDER BY position")
        assert len({position for position, _, _ in rows}) == len(rows)
        return {position: (rule, error) for position, rule, error in rows}

    def rules(self) -> dict[int, str]:
        return {position: rule for position, (rule, _) in self.aside().items()}

    def every_line_is_accounted(self, lines: Sequence[int], aside: Mapping[int, str], *, path: Path) -> None:
        """Each line, whose number is its `id`, is in the table once or in quarantine once, as the test says, and never both."""
        assert Counter(self.column("SELECT id FROM clean")) == Counter(number for number in lines if number not in aside)
        assert self.rules() == dict(aside)
        assert set(self.column("SELECT source FROM _raypipe.quarantine")) <= {str(path)}
        accounts = self.accounts()
        assert (accounts["read"], accounts["quarantined"]) == (len(lines), len(aside))


@pytest.fixture
def bench_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes benches in new folders: for properties, whose examples share one call of the fixture."""
    made = []

    def make() -> Bench:
        made.append(Bench(tmp_path_factory.mktemp("bench")))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def cli(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line as a user calls it in the pipeline's folder."""

    def call(*arguments: str) -> Result:
        bench.close()
        monkeypatch.chdir(bench.folder)
        return CliRunner().invoke(command_line, list(arguments), prog_name="raypipe")

    return call
