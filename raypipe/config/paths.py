"""Paths in a configuration: relative ones start at its folder, `package:` ones in an installed Python package."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from pathlib import Path, PurePosixPath

from raypipe.config.problems import Unfit, either, nearest_of

PACKAGE = "package:"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FORMAT_OF_SUFFIX = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSIONS = (".gz", ".zst", ".zip")
PATH_EXPECTED = "a local path, a glob or package:<installed package>/<path in it>"


def check_path(text: str) -> str:
    """Return the text of a path if it can name local files. Raises Unfit."""
    if not text.strip() or "\0" in text:
        raise Unfit(PATH_EXPECTED)
    if text.startswith("~"):
        raise Unfit(f"{PATH_EXPECTED}; ~ is not read, ${{env:HOME}} is")
    if scheme := _SCHEME.match(text):
        raise Unfit(f"{PATH_EXPECTED}; {scheme[1]}:// is not read")
    if text.startswith(PACKAGE) and (".." in PurePosixPath(text).parts or "/" not in text):
        raise Unfit(f"{PACKAGE}<installed package>/<path in it>, without ..")
    return text


def is_path(text: str) -> bool:
    """Tell whether a text can name local files."""
    try:
        check_path(text)
    except Unfit:
        return False
    return True


def check_local_path(text: str) -> str:
    """Return the text of a path if it can name a local file that is written. Raises Unfit."""
    if text.startswith(PACKAGE):
        raise Unfit("a local path: nothing is written into installed packages")
    return check_path(text)


def absolute(text: str, folder: Path) -> str:
    """Return the absolute path of one file. Raises Unfit when its package is not installed."""
    if text.startswith(PACKAGE):
        package, inside = _located(text)
        return os.path.normpath(package / inside)
    return os.path.normpath(folder / text)


def stays_inside(text: str) -> bool:
    """Tell whether a path names something in or below the folder that it starts at."""
    return not Path(text).is_absolute() and Path(os.path.normpath(text)).parts[:1] != ("..",)


def absolute_glob(text: str, folder: Path) -> str:
    """Return a glob that starts at an absolute folder, whose own name is taken literally."""
    if text.startswith(PACKAGE):
        package, inside = _located(text)
        return os.path.normpath(glob.escape(str(package)) + "/" + inside)
    if Path(text).is_absolute():
        return os.path.normpath(text)
    # `..` is taken away before escaping, so that it never meets an escaped name.
    relative = PurePosixPath(os.path.normpath(text))
    while relative.parts[:1] == ("..",):
        folder, relative = folder.parent, PurePosixPath(*relative.parts[1:])
    return os.path.normpath(glob.escape(str(folder)) + "/" + str(relative))


def format_of(text: str) -> str | None:
    """Return the format that a file name's suffixes say, compression aside."""
    suffixes = PurePosixPath(text).suffixes
    if suffixes and suffixes[-1].lower() in _COMPRESSIONS:
        suffixes = suffixes[:-1]
    return FORMAT_OF_SUFFIX.get(suffixes[-1].lower()) if suffixes else None


def _located(text: str) -> tuple[Path, str]:
    name, _, inside = text.removeprefix(PACKAGE).partition("/")
    folders = _package_folders(name)
    if not folders:
        raise Unfit(f"a package that is installed; {name} is not: pip install {name}")
    folder = next((one for one in folders if (one / inside).exists()), folders[0])
    if not glob.has_magic(inside) and not (folder / inside).exists():
        near = nearest_of(PurePosixPath(inside).name, _names(folder / PurePosixPath(inside).parent))
        raise Unfit(f"a file of the package {name}, which holds no {inside}", nearest=near)
    return folder, inside


def _package_folders(name: str) -> list[Path]:
    """Find a package without importing it; only a plain name, as find_spec would import the parents of a dotted one."""
    try:
        spec = importlib.util.find_spec(name) if _PACKAGE_NAME.fullmatch(name) else None
    except ValueError:  # a module that was made by hand, without a spec
        return []
    return [Path(one) for one in (spec.submodule_search_locations or ())] if spec else []


def _names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []


def formats() -> str:
    """Return the suffixes that tell a format, for error texts."""
    return either(FORMAT_OF_SUFFIX)
