"""Python steps: a function of the user's module, imported afresh from the pipeline's folder and held to its promise."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import polars as pl

from raypipe.engine.batches import HIDDEN, RESERVED_NAMES, ROW_COLUMN, SHARD_INDEX, Batch
from raypipe.engine.quality import Books
from raypipe.errors import ConfigurationError, TransformFailed
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import PythonStep

UserFunction = Callable[[pl.LazyFrame], pl.LazyFrame]

_IMPORTING = threading.RLock()  # modules of the folder stand in sys.modules while they are imported, and only then


# ---- import -----------------------------------------------------------------------------------------------


class _FreshLoader(SourceFileLoader):
    """Compiles the source as it stands now: byte code of an earlier state of the file is never used, nor written."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code = compile(self.get_data(path), path, "exec", dont_inherit=True)
        assert isinstance(code, CodeType)
        return code


class _FolderFinder:
    """Finds modules in one folder, and those of packages in it, before anything that is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module by its full name (the import system's protocol)."""
        places = [str(self.folder)] if path is None else [one for one in path if Path(one).is_relative_to(self.folder)]
        for place in places:
            spec = FileFinder(place, (_FreshLoader, [".py"])).find_spec(name, target)
            if spec is not None and (spec.loader is not None or path is not None):
                return spec
        return None


@contextmanager
def _folder_in_front(folder: Path) -> Iterator[None]:
    """Let imports see the folder first, and leave no module of it behind: two pipelines may have modules of one name."""
    finder = _FolderFinder(folder)
    with _IMPORTING:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _stands_in(folder, name)}
        before = set(sys.modules)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in set(sys.modules) - before:
                if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
                    del sys.modules[name]
            sys.modules.update(hidden)


def _stands_in(folder: Path, name: str) -> bool:
    top = name.partition(".")[0]
    return top != "raypipe" and ((folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file())


def load_function(function: str, folder: Path) -> UserFunction:
    """Import `module:function`, from the folder first. Raises ConfigurationError that says what is wrong and where."""
    module_name, _, name = function.partition(":")
    folder = folder.resolve()
    try:
        with _folder_in_front(folder):
            module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigurationError(
            f"python: {function}: cannot import {module_name!r} from {folder}: {_told(error, folder)}"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        have = (
            ", ".join(sorted(one for one, value in vars(module).items() if callable(value) and not one.startswith("_"))) or "none"
        )
        raise ConfigurationError(f"python: {function}: {module.__file__} has no function {name!r}; it has: {have}")
    checked: UserFunction = found
    return checked


def _told(error: BaseException, folder: Path) -> str:
    """Return an error with the last line of the user's own code that it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_absolute() and Path(frame.filename).is_relative_to(folder)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


# ---- call -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BoundPython:
    """A function that is called with the rows of one shard of a batch; the column `_raypipe_row` tells rows apart."""

    step: PythonStep
    function: UserFunction
    folder: Path

    def __call__(self, batch: Batch, books: Books) -> Batch:
        """Return the batch with each shard's rows replaced by what the function made of them."""
        frame = batch.frame
        whole = len(books.tally.windows) == 1 and not books.tally.looks_around
        parts = [frame] if whole else frame.partition_by(SHARD_INDEX, maintain_order=True)
        results = []
        for part in parts or [frame]:
            try:
                results.append(self._call(part, books))
            except TransformFailed as error:
                if part.is_empty():
                    raise
                books.tally.fail(part[SHARD_INDEX][0], error.code, str(error))
        if not results:
            raise TransformFailed(next(iter(books.tally.failed.values()))[1])
        return batch.with_frame(pl.concat(results, how="vertical"))

    def _call(self, part: pl.DataFrame, books: Books) -> pl.DataFrame:
        given = part.drop(one for one in part.columns if one in HIDDEN and one != ROW_COLUMN)
        rows = pl.int_range(part.height, dtype=pl.UInt32, eager=True).alias(ROW_COLUMN)
        made = self._collected(given.with_columns(rows))
        origins = self._origins(made, part.height)
        self._account(part, made.height, books)
        placement = part.select(one for one in part.columns if one in HIDDEN)
        placement = placement if origins is None else placement[origins]
        return pl.concat([made.drop(ROW_COLUMN, strict=False), placement], how="horizontal")

    def _collected(self, rows: pl.DataFrame) -> pl.DataFrame:
        try:
            made: object = self.function(rows.lazy())
            if isinstance(made, pl.LazyFrame):
                return made.collect(engine="in-memory")
            if isinstance(made, pl.DataFrame):
                return made
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of an engine is no Exception
            raise TransformFailed(f"python: {self.step.function} raised {_told(error, self.folder)}") from error
        raise self._broken(f"returned {type(made).__name__}, expected a LazyFrame")

    def _origins(self, made: pl.DataFrame, height: int) -> pl.Series | None:
        """Return for each row the row that it came from, or None when all are still in their places."""
        promise = self.step.rows
        hidden = [name for name in made.columns if name in RESERVED_NAMES and name != ROW_COLUMN]
        if hidden:
            raise self._broken(f"returned a column {hidden[0]!r}, a name that raypipe keeps for itself")
        origins = made[ROW_COLUMN] if ROW_COLUMN in made.columns and made.schema[ROW_COLUMN] == pl.UInt32 else None
        if promise == "same":
            self._check_same(made, height, origins)
            return None
        if origins is None or origins.has_nulls() or (len(origins) and (origins.max() or 0) >= height):  # type: ignore[operator]
            raise self._broken(f"lost the column `{ROW_COLUMN}`, which tells where a row came from: keep it (rows: {promise})")
        if promise == "fewer" and (made.height > height or origins.is_duplicated().any()):
            raise self._broken(f"made {made.height} rows of {height}, some more than once, but promised rows: fewer")
        if promise == "more" and made.height < height:
            raise self._broken(f"made {made.height} rows of {height}, but promised rows: more")
        return origins

    def _check_same(self, made: pl.DataFrame, height: int, origins: pl.Series | None) -> None:
        if made.height != height:
            raise self._broken(f"made {made.height} rows of {height}, but promised rows: same")
        if origins is not None and not origins.equals(pl.int_range(height, dtype=pl.UInt32, eager=True)):
            raise self._broken("changed the order of the rows, or which they are, but promised rows: same")

    def _account(self, part: pl.DataFrame, rows: int, books: Books) -> None:
        difference = rows - part.height
        if not difference:
            return
        shard = part[SHARD_INDEX][0]
        if difference > 0:
            books.tally.expanded[shard] += difference
        else:
            books.tally.filtered[self.step.function][shard] -= difference

    def _broken(self, what: str) -> TransformFailed:
        return TransformFailed(f"python: {self.step.function} {what}")
