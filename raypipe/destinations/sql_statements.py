"""Named SQL statements, read from the .sql files beside: `-- name: bump`, one sentence, the statement."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@functools.cache
def statements(file: str) -> Mapping[str, str]:
    """Return the statements of `sql/<file>.sql` by name, in the order of the file."""
    text = (resources.files(__package__) / "sql" / f"{file}.sql").read_text(encoding="utf-8")
    _, *pieces = _NAME.split(text)
    return {name: body.strip() for name, body in zip(pieces[::2], pieces[1::2], strict=True)}
