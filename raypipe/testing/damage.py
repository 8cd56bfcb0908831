"""Damage: staged files that are well-formed and wrong, as a bad disk or another program may leave them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.ports import Completion, Staged


def damage(completion: Completion) -> None:
    """Put the first row of each staged table in the place of its last one; the file stays one that every reader accepts."""
    if not isinstance(completion.value, Staged) or completion.value.folder is None:
        return
    for file in sorted(Path(completion.value.folder).glob("*.parquet")):
        rows = pq.read_table(file)
        if rows.num_rows > 1:
            pq.write_table(pa.concat_tables([rows.slice(0, rows.num_rows - 1), rows.slice(0, 1)]), file)
        else:
            pq.write_table(pa.concat_tables([rows, rows]), file)
