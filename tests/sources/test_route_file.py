"""Routing a text file: what is loaded for which part of it. In a process of its own: what is loaded stays loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from raypipe.core.calendar import Calendar, parse_width
from raypipe.pipeline import CsvDialect, EventTime, FilesSource
from raypipe.sources import route_file
from raypipe.sources.slices import SliceKey

def loaded(*arguments, **named):
    told.append("polars" in sys.modules)
    return row_bytes(*arguments, **named)

told, row_bytes, route_file.row_bytes = [], route_file.row_bytes, loaded
time = EventTime(column="t", start_us=0, shard=parse_width("1h"))
config = FilesSource(paths=(sys.argv[1],), format="csv", csv=CsvDialect())
key, folder = SliceKey(sys.argv[1], "1", "c"), Path(sys.argv[1] + ".slices")
content, _ = route_file.route_file(config, time, Calendar(0, time.shard), key, folder, 2**20)
print(*told, "polars" in sys.modules, sum(content["rows"]))
"""


def test_a_file_is_read_and_decoded_before_the_engine_that_routes_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,x\n1970-01-01T00:00:00Z,1\n1970-01-01T01:00:00Z,2\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a.csv")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False", "True", "2"]
