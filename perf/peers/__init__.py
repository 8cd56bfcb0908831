"""The peers: the canonical job as users of other tools would write it, each a script `FOLDER DESTINATION`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from perf.values import Missing

FOLDER = Path(__file__).parent
INSTALL = "pip install -c perf/constraints.txt -e '.[perf]'"
INSTALL_DAFT = "pip install --no-deps daft==0.7.26"  # it asks for an older PyArrow than raypipe's, and works with this one


@dataclass(frozen=True, slots=True)
class Peer:
    """One script. `rows_max` is how much it is given: more would take all of the machine's memory, or hours."""

    name: str
    family: str
    modules: tuple[str, ...]
    rows_max: int
    install: str = INSTALL
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Tell whether what it imports is there."""
        return all(find_spec(one) is not None for one in self.modules)

    @property
    def is_engine(self) -> bool:
        """Tell whether it is a script in one process that any amount of rows may be given to."""
        return self.rows_max == ALL_ROWS

    def command(self, folder: Path, destination: Path) -> list[str]:
        """Return the command that does the job over a folder of events."""
        return [sys.executable, str(FOLDER / f"{self.name}.py"), str(folder), str(destination)]


ALL_ROWS = 10**9
PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": str(Path(tempfile.gettempdir()) / "raypipe-perf-prefect"),  # its server fails where it cannot make one
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a busy machine takes more than the usual 20
}
PEERS = (
    Peer("polars_duckdb_per_day", "polars_duckdb", ("polars", "duckdb"), ALL_ROWS),
    Peer("polars_duckdb_threads", "polars_duckdb", ("polars", "duckdb"), ALL_ROWS),
    Peer("polars_per_day", "polars", ("polars",), ALL_ROWS),
    Peer("duckdb_per_day", "duckdb", ("duckdb",), ALL_ROWS),
    Peer("duckdb_one_query", "duckdb", ("duckdb",), ALL_ROWS),
    Peer("daft_dataframe", "daft", ("daft",), 10_000_000, INSTALL_DAFT, {"DO_NOT_TRACK": "true", "DAFT_ANALYTICS_ENABLED": "0"}),
    Peer("dask_dataframe", "dask", ("dask", "pandas"), 10_000_000),
    Peer("spark_dataframe", "spark", ("pyspark",), 10_000_000),
    Peer("ray_data_aligned", "raydata", ("ray", "pandas"), 10_000_000, environment={"RAY_USAGE_STATS_ENABLED": "0"}),
    Peer("ray_data_shuffle", "raydata", ("ray", "pandas", "aiohttp"), 10_000_000, environment={"RAY_USAGE_STATS_ENABLED": "0"}),
    Peer("prefect_pandas", "prefect", ("prefect", "pandas"), 10_000_000, environment=PREFECT),
)
FAMILIES = tuple(dict.fromkeys(peer.family for peer in PEERS))
SAME_ENGINES = "polars_duckdb"  # what a careful engineer would write with raypipe's own engines: beside all other engines


def chosen(families: Iterable[str] | None) -> tuple[Sequence[Peer], Sequence[Missing]]:
    """Return the peers of these families (None: all) that are installed, and the others."""
    wanted = set(FAMILIES if families is None else families)
    if any(peer.is_engine for peer in PEERS if peer.family in wanted):
        wanted.add(SAME_ENGINES)
    peers = [peer for peer in PEERS if peer.family in wanted]
    missing = [Missing(peer.name, peer.install) for peer in peers if not peer.is_installed]
    return [peer for peer in peers if peer.is_installed], missing
