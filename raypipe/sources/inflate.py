"""Inflating: the bytes of a gzip stream, and of a ZIP's member; by ISA-L, where it is built, in a third of zlib's time."""

from __future__ import annotations

import contextlib
import importlib
import struct
import zipfile
import zlib
from typing import Any, Protocol

codec: Any = zlib
with contextlib.suppress(ImportError):  # a machine that it is not built for
    codec = importlib.import_module("isal.isal_zlib")

INFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error, codec.error)

_READ_BYTES = 256 * 1024  # of the file at once
_FEED_BYTES_MIN = 4 * 1024
_GZIP, _DEFLATE = 31, -15  # as zlib tells streams with a header and a checksum from those without
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UNUSUAL = 0x61  # flags of a member that is encrypted or a patch


class _File(Protocol):
    def read(self, nbytes: int, /) -> bytes: ...

    def seek(self, position: int, /) -> int: ...


class _Inflating:
    """A file's bytes, inflated piece by piece."""

    def __init__(self, file: _File, kind: int) -> None:
        self._file = file
        self._kind = kind
        self._engine = codec.decompressobj(kind)
        self._data = b""
        self._at = 0
        """How much of the data the engine has taken in."""
        self._feed_bytes = _FEED_BYTES_MIN

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; fewer only at the end. Raises INFLATE_ERRORS, EOFError and BadZipFile for what is corrupt."""
        pieces: list[bytes] = []
        while size > 0 and (piece := self._some(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _some(self, size: int) -> bytes:
        """Return a few bytes, none at the end."""
        while not self._engine.eof or self._goes_on():
            given = self._given()
            piece = bytes(self._engine.decompress(given, size))  # of nothing too: the engine may hold more
            self._at -= len(self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail)
            if piece:
                self._look_at(piece)
                return piece
            if not given and not self._engine.eof:
                raise EOFError("it ends before the data that it announces")
        return b""

    def _given(self) -> bytes:
        """Return what the engine is given next: little at first, for it copies what it does not take."""
        self._fill()
        given = self._data[self._at : self._at + self._feed_bytes]
        self._at += len(given)
        self._feed_bytes = min(self._feed_bytes * 4, _READ_BYTES)
        return given

    def _fill(self) -> bool:
        """Read on where all is taken; tell whether there is more."""
        if self._at == len(self._data):
            self._data, self._at = self._more(), 0
        return bool(self._data)

    def _more(self) -> bytes:
        return self._file.read(_READ_BYTES)

    def _goes_on(self) -> bool:
        """Tell whether something follows what has ended."""
        return False

    def _look_at(self, piece: bytes) -> None:
        """Take note of what was inflated."""


class GzipStream(_Inflating):
    """The members of a gzip file, one behind the other; each is held to its checksum and length."""

    def __init__(self, file: _File) -> None:
        super().__init__(file, _GZIP)

    def _goes_on(self) -> bool:
        if not self._fill():
            return False
        self._engine = codec.decompressobj(self._kind)
        self._feed_bytes = _FEED_BYTES_MIN  # there are files of a member for each line
        return True


class ZipMember(_Inflating):
    """A deflated member of a ZIP, held to its checksum and length."""

    def __init__(self, file: _File, member: zipfile.ZipInfo) -> None:
        super().__init__(file, _DEFLATE)
        self._member = member
        self._left = member.compress_size
        self._crc = 0
        self._size = 0
        file.seek(member.header_offset)
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(member.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)

    def _more(self) -> bytes:
        data = self._file.read(min(_READ_BYTES, self._left))
        self._left -= len(data)
        return data

    def _goes_on(self) -> bool:
        if (self._crc, self._size) != (self._member.CRC, self._member.file_size):
            raise zipfile.BadZipFile(f"the checksum or the length of {self._member.filename} is wrong")
        return False

    def _look_at(self, piece: bytes) -> None:
        self._crc = codec.crc32(piece, self._crc)
        self._size += len(piece)


def is_deflated(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member is one for `ZipMember`, as nearly all are."""
    return member.compress_type == zipfile.ZIP_DEFLATED and not member.flag_bits & _UNUSUAL
