"""File systems: the one seam through which sources find, stat and open files; local ones need no engine."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from raypipe.errors import ConfigurationError, InputChanged, SourceUnreadable
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs as pafs

UNSETTLED_NS = 2_000_000_000  # coarsest modification time of a common file system (FAT): a later write may not show
_READ_BYTES = 1 << 20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file as it was found: `stat` changes when it is written, unless it is not `settled` yet."""

    uri: str
    size_bytes: int
    stat: str
    settled: bool


def find_files(patterns: Iterable[str], now_ns: int) -> tuple[FoundFile, ...]:
    """Return the files that the globs and paths name, each once, sorted by URI. No file is opened.

    Raises SourceUnreadable for a path without wildcards that does not exist.
    """
    found: dict[str, FoundFile] = {}
    for pattern in patterns:
        for one in _find_remote(pattern, now_ns) if is_remote(pattern) else _find_local(_local(pattern), now_ns):
            found[one.uri] = one
    return tuple(found[uri] for uri in sorted(found))


def stat_file(uri: str, now_ns: int) -> FoundFile:
    """Stat one file again. Raises InputChanged when it is gone."""
    if is_remote(uri):
        filesystem, path = _filesystem(uri)
        info = filesystem.get_file_info(path)
        found = _remote_file(uri, info, now_ns) if info.is_file else None
    else:
        found = _local_file(uri, now_ns)
    if found is None:
        raise InputChanged(f"{uri}: was there when the source was listed, and is gone now")
    return found


def open_file(uri: str) -> IO[bytes]:
    """Open a file for reading as a seekable binary stream. Raises InputChanged when it is gone."""
    with _named_errors(uri):
        return cast("IO[bytes]", _open_remote(uri)) if is_remote(uri) else Path(uri).open("rb")


def open_for_arrow(uri: str) -> pa.NativeFile:
    """Open a file that Arrow reads by itself, without the interpreter lock. Raises InputChanged when it is gone."""
    import pyarrow as pa

    with _named_errors(uri):
        return _open_remote(uri) if is_remote(uri) else pa.OSFile(cast("str", os.fsencode(uri)), "r")


def _open_remote(uri: str) -> pa.NativeFile:
    filesystem, path = _filesystem(uri)
    return filesystem.open_input_file(path)


@contextlib.contextmanager
def _named_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputChanged(f"{uri}: was there when the source was listed, and is gone now") from None
    except OSError as error:
        raise SourceUnreadable(f"{uri}: cannot be opened: {os.strerror(error.errno) if error.errno else error}") from error


def content_digest(uri: str) -> str:
    """Return a hash of all bytes of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with open_file(uri) as stream:
        while piece := stream.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def is_remote(uri: str) -> bool:
    """Tell whether a path stands in another file system than the local one."""
    return _SCHEME.match(uri) is not None and not uri.startswith("file://")


def _local(pattern: str) -> str:
    return str(Path(pattern.removeprefix("file://")).absolute())


def _find_local(pattern: str, now_ns: int) -> Iterator[FoundFile]:
    literal = not _MAGIC.search(pattern) or Path(pattern).exists()
    paths = [pattern] if literal else glob.glob(pattern, recursive=True)  # noqa: PTH207 (pathlib follows other rules for `**`)
    for path in paths:
        found = _local_file(path, now_ns)
        if found is not None:
            yield found
        elif literal:
            raise _no_such_file(path, folder=Path(path).is_dir())


def _no_such_file(path: str, *, folder: bool) -> Exception:
    if folder:
        return ConfigurationError(f"source.path: {path} is a folder, expected files: write, for example, {path}/**/*.parquet")
    return SourceUnreadable(f"source.path: {path}: there is no such file")


def _local_file(path: str, now_ns: int) -> FoundFile | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 (ten thousand Path objects cost more than the calls)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    if (stat.st_mode & 0o170000) == 0o040000:
        return None
    settled = abs(now_ns - stat.st_mtime_ns) >= UNSETTLED_NS
    return FoundFile(path, stat.st_size, f"{stat.st_size:x}-{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_ctime_ns:x}", settled)


def _filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    from pyarrow import fs as pafs

    try:
        return pafs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"source.path: {uri}: {error}; expected a local path, s3:// or gs://") from error


def _find_remote(pattern: str, now_ns: int) -> Iterator[FoundFile]:
    from pyarrow import fs as pafs

    scheme = pattern[: pattern.index("://") + 3]
    magic = _MAGIC.search(pattern)
    if magic is None:
        yield stat_file(pattern, now_ns)
        return
    folder = pattern[: magic.start()].rpartition("/")[0]
    filesystem, path = _filesystem(folder)
    wanted = re.compile(_translate((path.rstrip("/") + pattern[len(folder) :]).lstrip("/")))
    for info in filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)):
        if info.is_file and wanted.fullmatch(info.path):
            yield _remote_file(scheme + info.path, info, now_ns)


def _remote_file(uri: str, info: pafs.FileInfo, now_ns: int) -> FoundFile:
    written_ns = info.mtime_ns or 0
    return FoundFile(uri, info.size, f"{info.size:x}-{written_ns:x}", abs(now_ns - written_ns) >= UNSETTLED_NS)


def _translate(pattern: str) -> str:
    """Return a glob as a regular expression with the rules of `glob`: hidden names only match when they are named."""
    parts = []
    for part in PurePosixPath(pattern).parts:
        parts.append(r"(?:[^/.][^/]*/)*" if part == "**" else _translate_name(part) + "/")
    return "".join(parts).removesuffix("/").replace("//", "/")


def _translate_name(name: str) -> str:
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", name)
    text = "".join(_MEANING.get(piece[:1], re.escape)(piece) for piece in pieces)
    return (r"(?!\.)" if name[:1] in "*?[" else "") + text


def _character_class(piece: str) -> str:
    body = piece[1:-1].replace("\\", "\\\\")
    return f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]"


_MEANING: dict[str, Callable[[str], str]] = {"*": lambda _: "[^/]*", "?": lambda _: "[^/]", "[": _character_class}
