"""Check: all that can be known of a pipeline without its rows, by binding the very stages that a run binds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import polars as pl
import pyarrow as pa

from raypipe.core.window import Window
from raypipe.engine.batches import Batch, empty_batch, user_columns
from raypipe.engine.budget import Budget
from raypipe.engine.contract import Contract
from raypipe.engine.output_sql import SqlRefused, order_dependence
from raypipe.engine.outputs import Outputs
from raypipe.engine.quality import Books
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.tally import Tally
from raypipe.engine.text_types import polars_type, source_schema
from raypipe.engine.transform import Resources, RowStage, Stage, Transform
from raypipe.engine.views import view_problems
from raypipe.errors import ConfigurationError, ShardError
from raypipe.pipeline import Pipeline, SqlOutput, Stream

CHECK_MEMORY_BYTES = 64 * 1024 * 1024


def check_pipeline(
    pipeline: Pipeline, source_columns: Mapping[str, str], further: Sequence[Mapping[str, str]] = ()
) -> tuple[list[str], list[str]]:
    """Return the problems and warnings of a pipeline over a source with these columns (Source.columns; empty: not known).

    `further` are the columns of the other streams, in order.

    A batch without rows goes through contract, rules, steps and outputs, so that what a run would refuse is refused
    here with the same words. Python steps are imported and called with no rows.
    """
    problems, warnings = [], []
    for stream, columns in zip(pipeline.streams, [source_columns, *further], strict=False):
        found, remarks = _contract_remarks(stream, columns)
        problems += found
        warnings += remarks
    with tempfile.TemporaryDirectory(prefix="raypipe-check-") as folder:
        batch = None
        try:
            stages = Transform(pipeline).stages
        except ConfigurationError as error:
            problems += error.problems
        else:
            batch, found = _through_stages(stages, _start(pipeline, source_columns), Path(folder))
            problems += found
        problems += _output_problems(pipeline, batch, Path(folder))
    return problems, warnings + list(_order_warnings(pipeline))


def require_fit(pipeline: Pipeline, transform: Transform, outputs: Outputs, folder: Path) -> None:
    """Raise ConfigurationError for what no row could pass, where the contract alone tells the columns.

    What is right stays bound in `transform`, for the tasks. Functions of the user's are not called: behind one nothing is said.
    """
    if pipeline.source.extra_columns == "keep":
        return
    ours = list(takewhile(lambda stage: not (isinstance(stage, RowStage) and stage.calls_user), transform.stages))
    batch, problems = _through_stages(ours, _start(pipeline, {}), folder)
    if batch is not None and len(ours) == len(transform.stages):
        problems += _misfits(outputs, batch.frame, {})
    if problems:
        raise ConfigurationError(problems)


def _contract_remarks(stream: Stream, columns: Mapping[str, str]) -> tuple[list[str], list[str]]:
    if not columns:
        return [], []
    plan = Contract(stream.source, stream.time.zone).plan(source_schema(columns))
    remarks = [f"{stream.key}.columns: {one}" for one in plan.drift]
    return (remarks, []) if plan.fatal or stream.source.on_drift == "fail" else ([], remarks)


def _start(pipeline: Pipeline, source_columns: Mapping[str, str]) -> Batch | None:
    """Return a batch without rows of what a run would read: the contract's columns, and the others where they are kept."""
    contract = {name: polars_type(one.type) for name, one in pipeline.source.columns.items()}
    found = source_schema(source_columns)
    if contract and pipeline.source.extra_columns != "keep":
        return empty_batch(contract)
    schema = {**contract, **{name: dtype for name, dtype in found.items() if name not in contract}}
    return empty_batch(schema) if schema else None


def _through_stages(stages: Iterable[Stage], batch: Batch | None, folder: Path) -> tuple[Batch | None, list[str]]:
    """Pass the batch through stages; behind one that fails and would change the columns nothing can be said."""
    window = Window(0, 1)
    resources = Resources(Books(Tally([window]), Quarantine([window], [], CHECK_MEMORY_BYTES)), CHECK_MEMORY_BYTES, folder)
    problems: list[str] = []
    for stage in stages:
        if batch is None:
            break
        try:
            batch = next(stage.stream(iter([batch]), resources), None)
        except ConfigurationError as error:
            problems += error.problems
            batch = batch if isinstance(stage, RowStage) and stage.keeps_columns else None
        except ShardError as error:
            problems.append(str(error))
            batch = None
    return batch, problems


def _output_problems(pipeline: Pipeline, batch: Batch | None, folder: Path) -> list[str]:
    tables = {one.table for one in pipeline.outputs}
    problems = [f"quality.checks: there is no output {one.table!r}" for one in pipeline.quality.checks if one.table not in tables]
    try:
        outputs = Outputs(pipeline, budget=Budget.lean(CHECK_MEMORY_BYTES), spill_folder=folder)
    except ConfigurationError as error:
        return [*problems, *error.problems]
    try:
        columns: dict[str, pa.Schema] = {}
        if batch is not None:
            problems += _misfits(outputs, batch.frame, columns)
        problems += view_problems(pipeline, columns, folder) if pipeline.views else []
    finally:
        outputs.close()
    return problems


def _misfits(outputs: Outputs, frame: pl.DataFrame, columns: dict[str, pa.Schema]) -> Iterator[str]:
    """Yield what of the outputs and their checks does not fit the rows; note the columns of each table."""
    schema = frame.select(user_columns(frame)).to_arrow(compat_level=pl.CompatLevel.newest()).schema
    describe: list[Callable[[], dict[str, pa.Schema]]] = [
        lambda: outputs.aggregator.describe_outputs(schema),
        lambda: outputs.merged.described(frame),
    ]
    for described in describe:
        try:
            found = described()
        except ConfigurationError as error:
            yield from error.problems
            continue
        columns |= found
        for table, schema_of_table in found.items():
            yield from outputs.checks.problems(table, schema_of_table)
            yield from outputs.contracts.problems(table, schema_of_table)


def _order_warnings(pipeline: Pipeline) -> Iterator[str]:
    for output in pipeline.outputs:
        if isinstance(output, SqlOutput):
            try:
                yield from (f"outputs.{output.table}.sql: {one}" for one in order_dependence(output.sql))
            except SqlRefused:
                continue  # a problem already
