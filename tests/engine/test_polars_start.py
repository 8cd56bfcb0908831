"""Polars starts without what it has for Iceberg tables, and who asks for that gets it. In processes of their own."""

from __future__ import annotations

from tests.programs import words_of

START = (
    "import sys; from types import SimpleNamespace; from raypipe.engine.polars_start import start_polars;"
    "start_polars(SimpleNamespace(transform=())); import polars;"
)


def test_polars_starts_without_what_reads_iceberg() -> None:
    late = "[one for one in sys.modules if one in ('importlib.metadata', 'email') or 'iceberg' in one]"
    assert words_of(START + f"print({late}, polars.DataFrame({{'a': [1, 2]}})['a'].sum())") == ["[]", "3"]


def test_who_asks_for_iceberg_gets_all_of_it() -> None:
    program = (
        "import inspect\n"
        "try: polars.scan_iceberg('nowhere', no_such=1)\n"
        "except TypeError as error: print('no_such' in str(error))\n"
        "import polars.io.iceberg as iceberg; from polars.io.iceberg import IcebergCatalogConfig\n"
        "print('source' in inspect.signature(iceberg.scan_iceberg).parameters, isinstance(IcebergCatalogConfig, type))"
    )
    assert words_of(START + program) == ["True", "True", "True"]
