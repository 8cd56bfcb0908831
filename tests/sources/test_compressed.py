"""Compressed files: whole ones are read whole, and anything corrupt names the file."""

from __future__ import annotations

import gzip
import importlib
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.errors import SourceUnreadable
from raypipe.sources import inflate
from raypipe.sources.compressed import TextStream, open_text
from tests.programs import words_of


@pytest.fixture(params=["isal.isal_zlib", "zlib"], autouse=True)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inflate by either."""
    monkeypatch.setattr(inflate, "codec", importlib.import_module(request.param))


TEXT = b"".join(b"%d,value %d\n" % (number, number * 7919 % 1000) for number in range(20_000))


def read(path: Path) -> bytes:
    pieces = []
    with open_text(str(path)) as stream:
        while piece := stream.read(10_000):
            pieces.append(piece)
    return b"".join(pieces)


def drain(stream: TextStream) -> None:
    while stream.read(100_000):
        pass


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data).to_pybytes()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("plain.csv", bytes),
        ("one.csv.gz", gzip.compress),
        ("UPPER.CSV.GZ", gzip.compress),
        ("a_member_a_line.csv.gz", lambda data: b"".join(map(gzip.compress, data.splitlines(keepends=True)))),
        ("members.csv.gz", lambda data: gzip.compress(data[:77]) + gzip.compress(b"") + gzip.compress(data[77:])),
        ("one.csv.zst", zstd),
        ("frames.csv.zst", lambda data: zstd(data[:77]) + zstd(data[77:])),
    ],
)
def test_a_whole_file_is_read_whole_and_its_own_bytes_are_counted(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(TEXT))
    assert read(path) == TEXT
    with open_text(str(path)) as stream:
        while stream.read(1_000_000):
            pass
        assert stream.bytes_read == path.stat().st_size


def test_a_zip_of_one_member_is_read_folders_aside(tmp_path: Path) -> None:
    assert read(zipped(tmp_path / "one.zip", {"folder/": b"", "folder/one.csv": TEXT})) == TEXT


def test_a_zip_of_several_members_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "many.zip", {"a.csv": TEXT, "b.csv": TEXT})
    with pytest.raises(SourceUnreadable, match=r"many.zip: holds 2 files \(a.csv, b.csv\), expected exactly one"):
        read(path)


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


GZ, ZST = gzip.compress(TEXT), zstd(TEXT)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("truncated.csv.gz", GZ[:-1000]),
        ("truncated_at_its_checksum.csv.gz", GZ[:-4]),
        ("truncated_second_member.csv.gz", GZ + GZ[:-9]),
        ("wrong_checksum.csv.gz", flipped(GZ, -5)),
        ("wrong_length.csv.gz", flipped(GZ, -1)),
        ("flipped.csv.gz", flipped(GZ, len(GZ) // 2)),
        ("trailing_garbage.csv.gz", GZ + b"garbage"),
        ("plain_text.csv.gz", b"a,b\n1,2\n"),
        ("zero_bytes.csv.gz", b""),
        ("truncated.csv.zst", ZST[:-1]),
        ("flipped.csv.zst", flipped(ZST, 6)),
        ("trailing_garbage.csv.zst", ZST + b"garbage"),
        ("plain_text.csv.zst", b"a,b\n1,2\n"),
        ("zero_bytes.csv.zst", b""),
        ("plain_text.zip", b"a,b\n1,2\n"),
        ("zero_bytes.zip", b""),
    ],
)
def test_a_corrupt_file_is_an_error_that_names_it(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(SourceUnreadable, match=name):
        read(path)


def test_a_corrupt_zip_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bad.zip", {"one.csv": TEXT})
    whole = path.read_bytes()
    for broken in (
        zipped(tmp_path / "no_members.zip", {}).read_bytes(),
        whole[:-30],
        flipped(whole, len(whole) // 2),
        whole[: len(whole) // 2],
    ):
        path.write_bytes(broken)
        with pytest.raises(SourceUnreadable, match=r"bad\.zip"):
            read(path)


def test_a_zip_whose_content_is_not_what_its_directory_says_is_an_error(tmp_path: Path) -> None:
    for name, wrong in (("crc", b"\0\0\0\0"), ("length", struct.pack("<I", len(TEXT) - 1))):
        path = zipped(tmp_path / f"{name}.zip", {"one.csv": TEXT})
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\x01\x02") + (16 if name == "crc" else 24)
        data[at : at + 4] = wrong
        path.write_bytes(data)
        with pytest.raises(
            SourceUnreadable, match=rf"{name}\.zip: is truncated or corrupt: the checksum or the length of one\.csv"
        ):
            read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_not_deflated_is_read_too(tmp_path: Path, method: int) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("one.csv", TEXT)
    assert read(path) == TEXT


def test_a_zip_of_many_reads_is_read_whole(tmp_path: Path) -> None:
    text = random.Random(1).randbytes(1_000_000) + TEXT
    path = zipped(tmp_path / "long.zip", {"one.csv": text})
    with open_text(str(path)) as stream:
        assert stream.read(len(text)) == text
        assert stream.read(1) == b""
        assert stream.bytes_read <= path.stat().st_size


def test_a_file_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"gone\.csv: cannot be opened: "):
        open_text(str(tmp_path / "gone.csv"))
    with pytest.raises(SourceUnreadable, match=str(tmp_path)):
        open_text(str(tmp_path))


def test_a_decompression_bomb_is_stopped_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.sources.compressed.EXPANDED_BYTES_FREE", 1_000_000)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(bytes(8_000_000)))
    with (
        open_text(str(path)) as stream,
        pytest.raises(SourceUnreadable, match=r"bomb\.csv\.gz: expands .* fold, expected at most 500"),
    ):
        drain(stream)
    assert stream.bytes_read < 8_000


def test_where_isal_is_not_built_zlib_does() -> None:
    program = "import sys; sys.modules['isal'] = None; from raypipe.sources import inflate; print(inflate.codec.__name__)"
    assert words_of(program) == ["zlib"]
    assert words_of(program.replace("sys.modules['isal'] = None; ", "")) == ["isal.isal_zlib"]
