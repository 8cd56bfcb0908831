"""Text in other encodings than UTF-8, turned into UTF-8 without losing what cannot be read."""

from __future__ import annotations

import codecs

from raypipe.errors import ConfigurationError, SourceUnreadable
from raypipe.sources.lines import ByteStream

UTF8_NAMES = ("utf-8", "utf-8-sig", "ascii")  # ASCII files are read as UTF-8: nothing that is ASCII changes


def codec_name(encoding: str) -> str:
    """Return Python's name of an encoding; raises ConfigurationError when it knows none."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise ConfigurationError(f"source.csv.encoding: got {encoding!r}, expected e.g. utf-8, latin-1, cp1252 or utf-16") from None


def splits_at_newline_bytes(encoding: str) -> bool:
    r"""Tell whether the byte of `\n` is always a line end in this encoding, as in all that extend ASCII."""
    if encoding.startswith(("utf-16", "utf-32", "utf-7", "iso2022", "hz")):
        return False
    try:
        return bytes(range(128)).decode(encoding) == "".join(map(chr, range(128)))
    except UnicodeDecodeError:
        return False


class Utf8Stream:
    """A stream re-encoded as UTF-8, for encodings whose line ends cannot be found in the bytes (UTF-16, UTF-32).

    There, a wrong byte leaves no line whole that could be set aside: it fails the file.
    """

    def __init__(self, stream: ByteStream, encoding: str, uri: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._uri = uri

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes of UTF-8; empty only at the end."""
        while True:
            data = self._stream.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise SourceUnreadable(f"{self._uri}: is not {self._encoding}: {error.reason}; set source.csv.encoding") from error
            if text or not data:
                return text.encode("utf-8", errors="surrogatepass")
