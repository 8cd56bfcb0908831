"""From a valid model to the frozen Pipeline: texts become instants, paths become absolute, filters get names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from raypipe import pipeline as p
from raypipe.config import model as m
from raypipe.config import step_sections as s
from raypipe.config.cross_checks import filter_name
from raypipe.config.instants import parse_instant
from raypipe.config.paths import absolute, absolute_glob, format_of, stays_inside
from raypipe.core.retry import Retries

_US_PER_S = 1_000_000


def build_pipeline(model: m.PipelineSection, folder: Path, data_folder: Path | None = None) -> p.Pipeline:
    """Return the pipeline that a valid model describes.

    Relative paths of source and destination start at the data folder; those of code and reference files at the folder,
    as far as they stay inside it. Without a data folder both are one.
    """
    beside = data_folder or folder
    return p.Pipeline(
        name=model.name,
        description=model.description,
        time=_event_time(model.time),
        source=_source(model, beside),
        inputs=tuple(_input(name, one, beside) for name, one in model.inputs.items()),
        quality=_quality(model.quality),
        transform=_steps(model.transform, folder, beside),
        outputs=tuple(_output(one) for one in model.outputs if not isinstance(one, m.ViewSection)),
        views=tuple(p.View(name=one.table, sql=one.view) for one in model.outputs if isinstance(one, m.ViewSection)),
        destination=p.DuckDBDestination(path=absolute(model.destination.path, beside)),
        run=_run(model.run),
        folder=folder,
        data_folder=None if beside == folder else beside,
    )


def _event_time(time: m.TimeSection) -> p.EventTime:
    return p.EventTime(
        column=time.column,
        format=time.format,
        zone=time.zone,
        start_us=parse_instant(time.start, time.zone),
        end_us=None if time.end is None else parse_instant(time.end, time.zone),
        shard=time.shard,
        lateness_us=time.lateness,
        delay_us=time.delay,
        lookback=time.lookback,
        lookahead=time.lookahead,
    )


def _input(name: str, section: m.InputSection, folder: Path) -> p.NamedInput:
    time = section.time
    return p.NamedInput(
        name=name,
        source=_files(section.source, folder),
        column=time.column,
        format=time.format,
        lookback=time.lookback,
        lookahead=time.lookahead,
    )


def _source(model: m.PipelineSection, folder: Path) -> p.Source:
    match model.source:
        case m.FilesSection() as files:
            return _files(files, folder)
        case m.TableSection() as table:
            return p.TableSource(
                path=absolute(table.path or model.destination.path, folder),
                table=table.table,
                columns=_contract(table.columns),
                extra_columns=table.extra_columns,
                on_drift=table.on_drift,
            )


def _contract(columns: Mapping[str, m.ColumnSection]) -> dict[str, p.Column]:
    return {name: p.Column(type=column.type, required=column.required) for name, column in columns.items()}


def _csv(section: m.CsvSection | None) -> p.CsvDialect:
    csv = section or m.CsvSection.model_construct()
    return p.CsvDialect(
        nulls=tuple(csv.nulls),
        delimiter=csv.delimiter,
        quote=csv.quote,
        header=csv.header,
        encoding=csv.encoding,
        multiline=csv.multiline,
    )


def _more(section: m.MoreFilesSection, folder: Path) -> p.MoreFiles:
    return p.MoreFiles(
        paths=tuple(absolute_glob(path, folder) for path in section.path),
        format=section.format or cast("m.FileFormat", format_of(section.path[0])),
        csv=_csv(section.csv),
    )


def _files(source: m.FilesSection, folder: Path) -> p.FilesSource:
    return p.FilesSource(
        paths=tuple(absolute_glob(path, folder) for path in source.path),
        format=source.format or cast("m.FileFormat", format_of(source.path[0])),
        csv=_csv(source.csv),
        also=tuple(_more(one, folder) for one in source.also),
        columns=_contract(source.columns),
        extra_columns=source.extra_columns,
        on_drift=source.on_drift,
        ready=None if source.ready is None else p.Ready(marker=source.ready.marker, files=source.ready.files),
    )


def _quality(quality: m.QualitySection) -> p.Quality:
    limit = quality.max_quarantined
    return p.Quality(
        max_quarantined=None if limit is None else p.MaxQuarantined(share=limit.share, at_least=limit.at_least),
        rules=tuple(p.Rule(name=one.name, expect=one.expect, otherwise=one.otherwise, nulls=one.nulls) for one in quality.rules),
        checks=tuple(
            p.Check(table=one.table, expect=one.expect, otherwise=one.otherwise, on_empty=one.on_empty) for one in quality.checks
        ),
        keep_quarantined_us=quality.keep_quarantined,
    )


def _steps(steps: Sequence[s.AnyStep], folder: Path, data_folder: Path) -> tuple[p.Step, ...]:
    names = (filter_name(position) for position in itertools.count(1))
    return tuple(
        _filter(step, next(names)) if isinstance(step, s.FilterStep) else _step(step, folder, data_folder) for step in steps
    )


def _filter(step: s.FilterStep, its_name: str) -> p.Filter:
    return p.Filter(condition=step.filter, name=step.name or its_name)


def _step(step: s.StepButFilter, folder: Path, data_folder: Path) -> p.Step:
    match step:
        case s.DeduplicateStep(deduplicate=one):
            return p.Deduplicate(key=tuple(one.key), latest_by=tuple(one.latest_by or ()))
        case s.LookupStep(lookup=one):
            path = absolute(one.path, folder if stays_inside(one.path) else data_folder)
            return p.Lookup(path=path, on=one.on, columns=one.columns, missing=one.missing, as_of=one.as_of)
        case s.PythonStep():
            return p.PythonStep(function=step.python, rows=step.rows)
        case s.ExplodeStep():
            return p.Explode(column=step.explode, empty=step.empty)
        case s.FlattenStep() | s.DropStep() | s.SelectStep():
            return _step_of_names(step)
        case _:
            return _step_of_columns(step)


def _step_of_names(step: s.FlattenStep | s.DropStep | s.SelectStep) -> p.Step:
    match step:
        case s.FlattenStep():
            return p.Flatten(columns=tuple(step.flatten))
        case s.DropStep():
            return p.Drop(columns=tuple(step.drop))
        case s.SelectStep():
            return p.Select(columns=tuple(step.select))


def _step_of_columns(step: s.DeriveStep | s.CastStep | s.RenameStep | s.FillNullStep) -> p.Step:
    match step:
        case s.DeriveStep():
            return p.Derive(columns=step.derive)
        case s.CastStep():
            return p.Cast(columns=step.cast)
        case s.RenameStep():
            return p.Rename(columns=step.rename)
        case s.FillNullStep():
            return p.FillNull(columns=step.fill_null)


def _output(output: m.SqlSection | m.RowsSection | m.GroupBySection) -> p.Output:
    columns = {
        name: p.OutputColumn(type=one.type, required=one.required, unique=one.unique) for name, one in output.columns.items()
    }
    if isinstance(output, m.SqlSection):
        return p.SqlOutput(table=output.table, sql=output.sql, columns=columns)
    if isinstance(output, m.GroupBySection):
        return p.GroupByOutput(table=output.table, group_by=output.group_by, measures=output.measures, columns=columns)
    return p.RowsOutput(
        table=output.table,
        key=tuple(output.key or ()),
        latest_by=tuple(output.latest_by or ()),
        delete_when=output.delete_when,
        columns=columns,
    )


def _run(run: m.RunSection) -> p.RunOptions:
    retries = run.retries
    return p.RunOptions(
        executor=run.executor,
        address=run.address,
        memory_bytes=run.memory,
        cpus_per_shard=run.cpus_per_shard,
        resources=run.resources,
        retries=Retries(attempts=retries.attempts, delay_s=retries.delay / _US_PER_S, factor=retries.factor),
        shard_timeout_s=run.shard_timeout / _US_PER_S,
    )
