"""Markers: a file counts once the one who writes has said, by a marker in its folder, that the folder is whole."""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.core.shard import InputFile
from raypipe.errors import InputChanged
from raypipe.sources.filesystem import stat_file


def marked(files: Sequence[InputFile], marker: str, now_ns: int) -> tuple[InputFile, ...]:
    """Return the files in whose folder stands a file of this name; the markers themselves are none of the source's."""
    folders = {_folder(file.uri) for file in files}
    whole = {folder for folder in folders if _exists(f"{folder}/{marker}", now_ns)}
    return tuple(file for file in files if _folder(file.uri) in whole and file.uri != f"{_folder(file.uri)}/{marker}")


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]


def _exists(uri: str, now_ns: int) -> bool:
    try:
        stat_file(uri, now_ns)
    except InputChanged:
        return False
    return True
