"""Loads the modules beside: made-up histories, and what their tables should hold."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


def _beside(name: str) -> ModuleType:
    spec = spec_from_file_location(f"merges_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def histories():
    return _beside("histories")


@pytest.fixture(scope="session")
def by_hand():
    return _beside("by_hand")


@pytest.fixture
def outputs(histories, tmp_path):
    """What the engine of raypipe makes of the rows of a shard."""
    from raypipe.engine.budget import Budget
    from raypipe.engine.outputs import Outputs

    found = Outputs(histories.PIPELINE, budget=Budget.lean(1 << 28), spill_folder=tmp_path / "spill")
    yield found
    found.close()
