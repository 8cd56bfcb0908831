"""raypipe without output digests, for measuring what they cost: `python -m perf.without_digests run CONFIG --executor inline`.

Only this process is changed; the product has no such switch, and `verify` would find every range of such a table wrong. No
engine is loaded here: each starts as ever, with the memory that a command gives it.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.cli import main
from raypipe.core import digest


def _counted_alone(relation: str, columns: Sequence[str], *, by: str) -> str:
    del columns
    return f"SELECT {by} AS part, count(*) AS rows, '{'0' * 32}' AS digest FROM {relation} GROUP BY part"


if __name__ == "__main__":
    digest.digest_query = _counted_alone
    main()
