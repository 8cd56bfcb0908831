"""Checks: conditions on a shard's contribution to a table, judged before anything of it is visible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from raypipe.engine.output_sql import SqlRefused, parse_select
from raypipe.engine.sandbox import Sandboxes, reason
from raypipe.engine.table_spool import Rows, scannable
from raypipe.errors import ConfigurationError, RuleBroken, TransformFailed
from raypipe.pipeline import ROWS, Check
from raypipe.ports import SHARD_COLUMN

if TYPE_CHECKING:
    from raypipe.engine.outputs import Contributions


class Checks:
    """The checks of a pipeline, aggregates over one shard's rows of a table, in DuckDB's SQL.

    A check holds when it is true or null, as in SQL; an empty contribution passes, but with `on_empty: check` it has
    to be true there. Several threads may use it.
    """

    def __init__(self, checks: Sequence[Check], sandboxes: Sandboxes) -> None:
        self.checks = tuple(checks)
        self._sandboxes = sandboxes
        problems = []
        for check in self.checks:
            try:
                parse_select(_query(check))
            except SqlRefused as refused:
                problems.append(f"quality.checks: {check.table}: {check.expect!r}: {refused}")
        if problems:
            raise ConfigurationError(problems)

    def problems(self, table: str, schema: pa.Schema) -> list[str]:
        """Return what is wrong with the checks of a table that has these columns."""
        found: list[str] = []
        for check in self.checks:
            if check.table == table:
                try:
                    self._verdicts(check, schema.append(pa.field(SHARD_COLUMN, pa.timestamp("us"))).empty_table())
                except ConfigurationError as error:
                    found += error.problems
        return found

    def judge(self, contributions: Contributions) -> Contributions:
        """Return the contributions with the shards that failed a check and the warnings of those that broke a warning."""
        failed: dict[int, tuple[str, str]] = dict(contributions.failed)
        warnings: dict[int, list[str]] = defaultdict(list)
        for check in self.checks:
            if check.table not in contributions.found:
                continue
            found = contributions.found[check.table]
            verdicts = self._verdicts(check, found.table if found.shown is None else found.shown)
            of_nothing = verdicts.pop(None) is True or check.on_empty == "pass"
            for place, window in enumerate(contributions.windows):
                rows = contributions.found[check.table].stats[window].rows
                if verdicts.get(window.start_us) is not False if rows else of_nothing:
                    continue
                text = f"check on {check.table} does not hold: {check.expect} ({rows} rows in the contribution)"
                if check.otherwise == "warn":
                    warnings[place].append(text)
                else:
                    failed.setdefault(place, (RuleBroken.code, text))
        return replace(contributions, failed=failed, warnings=warnings)

    def _verdicts(self, check: Check, rows: Rows) -> dict[int | None, bool | None]:
        """Return what the check says of each shard's rows, by the shard's start, and of no rows at all under None."""
        with self._sandboxes.borrow() as connection:
            connection.register(ROWS, scannable(rows))
            try:
                found = connection.execute(
                    f"SELECT epoch_us({SHARD_COLUMN}), ({check.expect})::BOOLEAN FROM {ROWS} GROUP BY {SHARD_COLUMN}"
                )
                verdicts: dict[int | None, bool | None] = dict(found.fetchall())
                connection.register(ROWS, rows.schema.empty_table())
                nothing = connection.execute(f"SELECT ({check.expect})::BOOLEAN FROM {ROWS} WHERE false").fetchall()
            except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
                raise ConfigurationError(f"quality.checks: {check.table}: {check.expect!r}: {reason(error)}") from error
            except duckdb.OutOfMemoryException:
                raise  # of the shard, which is then done in another way
            except duckdb.Error as error:
                raise TransformFailed(f"quality.checks: {check.table}: {check.expect!r}: {reason(error)}") from error
            connection.unregister(ROWS)
        verdicts[None] = nothing[0][0] if nothing else None
        return verdicts


def _query(check: Check) -> str:
    return f"SELECT ({check.expect}) FROM {ROWS}"
