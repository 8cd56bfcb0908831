from __future__ import annotations

import sys
import textwrap

import pytest

from raypipe.config.load import load_pipeline
from raypipe.errors import ConfigurationError

RIDES = """
from raypipe.core.calendar import Width
from raypipe.core.datatype import DataType
from raypipe.pipeline import *

pipeline = Pipeline(
    name="rides",
    time=EventTime(column="at", start_us=1_714_521_600_000_000, shard=Width(1, "d")),
    source=FilesSource(paths=("rides.csv",), format="csv", columns={"at": Column(type=DataType("timestamp"))}),
    outputs=(RowsOutput(table="rides_clean"),),
    destination=DuckDBDestination(path="rides.duckdb"),
)
number = 5
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module of a new name to the working folder and gives that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(text):
        name = "rides_" + tmp_path.name.replace("-", "_")
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


def refusal(target, **options):
    with pytest.raises(ConfigurationError) as caught:
        load_pipeline(target, **options)
    return "\n".join(caught.value.problems)


def test_a_pipeline_of_a_module_has_the_folder_of_its_module(module, tmp_path):
    pipeline = load_pipeline(f"{module(RIDES)}:pipeline")
    assert pipeline.folder == tmp_path
    assert pipeline.source.paths == (f"{tmp_path}/rides.csv",)
    assert pipeline.destination.path == f"{tmp_path}/rides.duckdb"
    assert pipeline.time.start_us == 1_714_521_600_000_000


def test_a_pipeline_of_a_module_keeps_its_own_folder(module):
    name = module(
        RIDES + "\nfrom pathlib import Path\nimport dataclasses\npipeline = dataclasses.replace(pipeline, folder=Path('/srv'))"
    )
    assert load_pipeline(f"{name}:pipeline").destination.path == "/srv/rides.duckdb"


def test_a_module_of_a_package_is_found(module, tmp_path):
    (tmp_path / "team_of_rides").mkdir()
    (tmp_path / "team_of_rides" / "rides.py").write_text(RIDES)
    module("")
    pipeline = load_pipeline("team_of_rides.rides:pipeline")
    assert pipeline.destination.path == str(tmp_path / "team_of_rides" / "rides.duckdb")


def test_set_works_on_a_python_pipeline_and_profiles_do_not(module):
    name = module(RIDES)
    assert load_pipeline(f"{name}:pipeline", overrides=["time.shard=1h"]).time.shard.unit == "h"
    expected = 'got "prod", expected no profile: the configuration has none'
    assert refusal(f"{name}:pipeline", profile="prod") == f"{name}:pipeline: --profile: {expected}"


def test_a_python_pipeline_meets_the_same_checks_and_all_at_once(module):
    wrong = RIDES.replace('"rides_clean"),', '"B"), RowsOutput(table="a"), RowsOutput(table="a"),').replace(
        'name="rides"', 'name="My"'
    )
    name = module(wrong)
    told = refusal(f"{name}:pipeline")
    assert f'{name}:pipeline: name: got "My", expected a name of a-z' in told
    assert f'{name}:pipeline: outputs.0.table: got "B", expected a name of a-z' in told
    assert (
        f'{name}:pipeline: outputs.2.table: got "a", expected another name: a table has this one already, at outputs.1.table'
        in told
    )


def test_a_module_that_does_not_exist_is_named(module, tmp_path):
    module("")
    assert refusal("no_such_rides:pipeline") == (
        f"no_such_rides:pipeline: no module no_such_rides; expected no_such_rides.py in {tmp_path} or an installed package"
    )


def test_a_module_that_fails_is_told_with_its_line(module):
    name = module("x = 1\nx / 0\n")
    assert (
        refusal(f"{name}:pipeline")
        == f"{name}:pipeline: {name} cannot be imported: ZeroDivisionError: division by zero ({name}.py:2)"
    )


def test_a_module_that_imports_what_is_missing_is_told_apart_from_a_missing_module(module):
    name = module("import no_such_thing\n")
    assert refusal(f"{name}:pipeline") == (
        f"{name}:pipeline: {name} cannot be imported: ModuleNotFoundError: No module named 'no_such_thing' ({name}.py:1)"
    )


def test_a_module_with_a_syntax_error_is_told(module):
    name = module("x = (\n")
    assert "SyntaxError: '(' was never closed" in refusal(f"{name}:pipeline")


def test_a_module_that_exits_does_not_end_the_process(module):
    name = module("raise SystemExit(3)\n")
    assert "SystemExit: 3" in refusal(f"{name}:pipeline")


def test_an_attribute_that_is_missing_is_told_with_the_pipelines_of_the_module(module):
    name = module(RIDES)
    assert refusal(f"{name}:pipline") == (
        f"{name}:pipline: the module {name} has no pipline; it has pipeline; did you mean {name}:pipeline?"
    )
    assert refusal(f"{name}:other") == f"{name}:other: the module {name} has no other; it has pipeline"


def test_a_module_without_a_pipeline_is_told(module):
    name = module("x = 1")
    assert refusal(f"{name}:pipeline") == f"{name}:pipeline: the module {name} has no pipeline; it has no Pipeline at all"


def test_an_attribute_that_is_no_pipeline_is_told(module):
    name = module(RIDES)
    assert refusal(f"{name}:number") == f"{name}:number: got a value of type int, expected a raypipe.pipeline.Pipeline"


def test_a_pipeline_with_a_hole_is_told(module):
    name = module(RIDES.replace("time=EventTime(", "time=None and EventTime("))
    assert refusal(f"{name}:pipeline").startswith(f"{name}:pipeline: the Pipeline is not complete: ")
