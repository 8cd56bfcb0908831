"""Packages that are loaded late: others take functions from a stand-in, and get the real ones. In processes of their own."""

from __future__ import annotations

import importlib.metadata

from raypipe.late_packages import installed_version
from tests.programs import words_of

START = "import sys; from raypipe.late_packages import late\n"


def test_versions_are_those_that_packages_say() -> None:
    for name in ("raypipe", "ray", "polars", "duckdb", "pyarrow"):
        assert installed_version(name) == importlib.metadata.version(name)
    assert installed_version("no_such_package") is None


def test_a_function_is_the_real_one_when_it_is_called() -> None:
    program = (
        "with late('colorsys'): from colorsys import rgb_to_hsv\n"
        "print('colorsys' in sys.modules, rgb_to_hsv(0, 0, 1)[2], 'colorsys' in sys.modules)"
    )
    assert words_of(START + program) == ["False", "1", "True"]


def test_within_a_package_it_is_an_attribute_too_and_leaves_none() -> None:
    program = (
        "import importlib\n"
        "with late('importlib.metadata', known={'version': lambda name: 'known'}):\n"
        "    import importlib.metadata; print(importlib.metadata.version('polars'))\n"
        "print('importlib.metadata' in sys.modules, hasattr(importlib, 'metadata'))\n"
        "import importlib.metadata; print(importlib.metadata.version('polars') != 'known')"
    )
    assert words_of(START + program) == ["known", "False", "False", "True"]


def test_a_class_that_is_wanted_at_once_is_the_real_one() -> None:
    program = (
        "with late('polars.io.iceberg'): from polars.io.iceberg import IcebergCatalogConfig as found\n"
        "import polars.io.iceberg as iceberg; print(found is iceberg.IcebergCatalogConfig, type(iceberg).__name__)"
    )
    assert words_of(START + program) == ["True", "module"]


def test_what_is_loaded_stays() -> None:
    assert words_of(START + "import colorsys as one\nwith late('colorsys'): import colorsys\nprint(colorsys is one)") == ["True"]


def test_duckdb_starts_without_reading_what_packages_say() -> None:
    program = (
        "from raypipe.destinations.duckdb_start import start_duckdb; start_duckdb(); early = 'importlib.metadata' in sys.modules;"
        "import duckdb, importlib.metadata; print(early, duckdb.__version__ == importlib.metadata.version('duckdb'))"
    )
    assert words_of(START + program) == ["False", "True"]
