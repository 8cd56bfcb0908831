"""A pipeline written in Python: `module:attribute` is imported and must be a Pipeline."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from raypipe.config.problems import either, nearest_of, printable
from raypipe.errors import ConfigurationError
from raypipe.pipeline import Pipeline

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def names_python(target: str) -> bool:
    """Tell whether a target is `module:attribute` and not a file."""
    return _TARGET.fullmatch(target) is not None and not Path(target).exists()


def import_pipeline(target: str) -> Pipeline:
    """Import the pipeline that `module:attribute` names, with the working folder on the import path.

    A pipeline without a folder gets that of its module. Raises ConfigurationError.
    """
    name, _, attribute = target.partition(":")
    module = _imported(target, name)
    found = getattr(module, attribute, None)
    if isinstance(found, Pipeline):
        return replace(found, folder=_folder_of(found, module))
    if found is not None:
        raise ConfigurationError(f"{target}: got a value of type {type(found).__name__}, expected a raypipe.pipeline.Pipeline")
    pipelines = [key for key, value in vars(module).items() if isinstance(value, Pipeline)]
    known = f"; it has {either(pipelines)}" if pipelines else "; it has no Pipeline at all"
    near = nearest_of(attribute, pipelines)
    raise ConfigurationError(
        f"{target}: the module {name} has no {attribute}{known}" + (f"; did you mean {name}:{near}?" if near else "")
    )


def _imported(target: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"{target}: no module {error.name}; expected {name}.py in {here} or an installed package"
            ) from None
        raise ConfigurationError(f"{target}: {name} cannot be imported: {_reason(error)}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{target}: {name} cannot be imported: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {printable(str(error))} ({Path(last.filename).name}:{last.lineno})"


def _folder_of(pipeline: Pipeline, module: ModuleType) -> Path:
    file = getattr(module, "__file__", None)
    beside = Path(file).parent if file else Path.cwd()
    return (beside / pipeline.folder).absolute()
