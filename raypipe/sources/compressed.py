"""TextStream: the decompressed bytes of one file, by its suffix; any corruption names the file and fails it whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, cast

import pyarrow as pa

from raypipe.errors import RetryableError, SourceUnreadable
from raypipe.sources.inflate import INFLATE_ERRORS, GzipStream, ZipMember, is_deflated

EXPANDED_BYTES_FREE = 64 * 1024**2  # below this a bomb does no harm, and small files of one repeated line are common in tests
EXPANSION_MAX = 500  # event files shrink 5 to 50 fold, the dullest logs about 200; deflate bombs 1,000 and zstd bombs more

_CORRUPT: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    *INFLATE_ERRORS,
    EOFError,
    NotImplementedError,
    RuntimeError,
    pa.ArrowInvalid,
)


class ByteStream(Protocol):
    """What the line decoders read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty only at the end."""
        ...


class TextStream:
    """A file's decompressed bytes. `bytes_read` counts what was read of the file itself.

    `read` raises SourceUnreadable for anything that is corrupt, truncated, or expands like a decompression bomb, also
    when that shows only at the end (a checksum): rows read before it must be thrown away by whoever catches it.
    """

    def __init__(self, path: str, file: pa.NativeFile, content: ByteStream, *, compressed: bool) -> None:
        self._path = path
        self._file = file
        self._content = content
        self._compressed = compressed
        self._expanded_bytes = 0
        self.size_bytes = file.size()
        """Of the file as it stands."""
        self.bytes_read = 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` decompressed bytes; empty only at the end of a file that is whole."""
        with _named(self._path):
            data = self._content.read(size)
            self.bytes_read = self._file.tell()
        self._expanded_bytes += len(data)
        if self._compressed and self._expanded_bytes > EXPANDED_BYTES_FREE:
            self._refuse_bomb()
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _refuse_bomb(self) -> None:
        expansion = self._expanded_bytes / max(self.bytes_read, 1)
        if expansion > EXPANSION_MAX:
            raise SourceUnreadable(
                f"{self._path}: expands {expansion:,.0f} fold, expected at most {EXPANSION_MAX}, which only a decompression "
                "bomb exceeds; decompress the file yourself if it is none"
            )


def open_text(path: str) -> TextStream:
    """Open a file and decompress it by its suffix: `.gz` (any number of members), `.zst`, `.zip` of one member, else plain."""
    with _named(path):
        file = pa.OSFile(cast("str", os.fsencode(path)), "r")  # Arrow's file systems take 13 ms to load, for this alone
        try:
            suffix = _suffix(path)
            content = _OPENERS[suffix](path, file) if suffix else file
        except BaseException:
            file.close()
            raise
    return TextStream(path, file, content, compressed=bool(suffix))


def _suffix(path: str) -> str:
    return next((suffix for suffix in _OPENERS if path.lower().endswith(suffix)), "")


def _open_gzip(path: str, file: pa.NativeFile) -> ByteStream:
    _require_content(path, file)
    return GzipStream(file)


def _open_zstd(path: str, file: pa.NativeFile) -> ByteStream:
    _require_content(path, file)
    return pa.CompressedInputStream(file, "zstd")


def _require_content(path: str, file: pa.NativeFile) -> None:
    """Refuse an empty file: every codec writes a header, so that nothing at all means truncated."""
    if file.size() == 0:
        raise SourceUnreadable(f"{path}: is empty, expected a {_suffix(path)} file: it was probably not written to its end")


def _open_zip(path: str, file: pa.NativeFile) -> ByteStream:
    archive = zipfile.ZipFile(file)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5])
        raise SourceUnreadable(f"{path}: holds {len(members)} files ({names}), expected exactly one; unpack it and list its files")
    content = archive.open(members[0])  # which also looks whether the member is where the directory says
    return ZipMember(file, members[0]) if is_deflated(members[0]) else content


_OPENERS: dict[str, Callable[[str, pa.NativeFile], ByteStream]] = {".gz": _open_gzip, ".zst": _open_zstd, ".zip": _open_zip}


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Raise what goes wrong with a file as an error of ours that names it."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        # Arrow's own text holds the path a second time.
        raise SourceUnreadable(f"{path}: cannot be opened: {os.strerror(error.errno) if error.errno else error}") from error
    except OSError as error:
        # Arrow raises OSError both for what the system says (with a number) and for corrupt data (without one).
        if error.errno is not None:
            raise RetryableError(f"{path}: reading failed: {error}") from error
        raise SourceUnreadable(f"{path}: is truncated or corrupt: {error}") from error
    except _CORRUPT as error:
        raise SourceUnreadable(f"{path}: is truncated or corrupt: {error or type(error).__name__}") from error
