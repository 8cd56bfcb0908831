"""Damaged archives: a file that is not whole fails by name, and no row of it is visible; mended, it is read whole."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

import pyarrow as pa
import pytest

from raypipe.sources import compressed

ROWS = 20_000
CSV = b"id,ts\n" + b"".join(b"%d,2026-01-0%dT00:00:00\n" % (number, 1 + number % 3) for number in range(ROWS))
JSON = b"".join(b'{"id": %d, "ts": "2026-01-0%dT00:00:00"}\n' % (number, 1 + number % 3) for number in range(ROWS))
CONTENT = {"csv": CSV, "jsonl": JSON}
COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}


def gz(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1)


def zst(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def truncated(packed: bytes) -> bytes:
    return packed[: len(packed) // 2]


def wrong_checksum(packed: bytes) -> bytes:
    """A gzip whose trailer says another CRC: the data itself decompresses."""
    return packed[:-8] + struct.pack("<I", zlib.crc32(b"other")) + packed[-4:]


def flipped(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 0x10]) + packed[middle + 1 :]


DAMAGED = {
    "gz-truncated-24": ("csv", ".gz", truncated(gz(CSV))),
    "gz-json-truncated-24": ("jsonl", ".gz", truncated(gz(JSON))),
    "gz-without-trailer-24": ("csv", ".gz", gz(CSV)[:-8]),
    "zst-truncated-24": ("jsonl", ".zst", truncated(zst(JSON))),
    "zip-truncated-24": ("csv", ".zip", truncated(zipped(("in.csv", CSV)))),
    "gz-wrong-checksum-25": ("csv", ".gz", wrong_checksum(gz(CSV))),
    "gz-json-wrong-checksum-25": ("jsonl", ".gz", wrong_checksum(gz(JSON))),
    "zip-flipped-25": ("csv", ".zip", flipped(zipped(("in.csv", CSV)))),
    "gz-garbage-27": ("csv", ".gz", gz(CSV) + b"garbage behind the end"),
    "gz-nothing-24": ("csv", ".gz", b""),
    "zip-two-members": ("csv", ".zip", zipped(("a.csv", CSV), ("b.csv", CSV))),
}


def write_damaged(bench, damage: str) -> str:
    kind, suffix, data = DAMAGED[damage]
    bench.write(f"ok.{kind}", CONTENT[kind][:100].rpartition(b"\n")[0] + b"\n")
    bench.config(f"*.{kind}*", columns=COLUMNS)
    return str(bench.write(f"in.{kind}{suffix}", data))


def every_shard_fails_by_name(failures: list[tuple[str, str]], path: str) -> None:
    assert len(failures) == 3  # its rows may belong to any shard
    assert {code for code, _ in failures} == {"source_unreadable"}
    assert all(error.startswith(f"{path}: ") for _, error in failures)


@pytest.mark.fault(24, 25, 27)
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_fails_the_plan_by_name(bench, damage):
    path = write_damaged(bench, damage)
    every_shard_fails_by_name(bench.planned_failures(), path)


@pytest.mark.fault(24, 25, 27)
@pytest.mark.parametrize("damage", ["gz-json-truncated-24", "gz-wrong-checksum-25", "gz-garbage-27"])
def test_a_damaged_archive_fails_the_run_by_name_and_no_row_of_it_is_visible(bench, damage):
    path = write_damaged(bench, damage)
    every_shard_fails_by_name(bench.failed(), path)
    assert bench.query("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'") == []
    assert bench.query("SELECT * FROM _raypipe.shards") == []


@pytest.mark.fault(24, 26)
def test_a_mended_file_of_several_members_is_read_whole_by_the_next_run(bench):
    cut = CSV.index(b"\n", len(CSV) // 2) - 4  # members may begin in the middle of a line
    bench.write("in.csv.gz", truncated(gz(CSV)))
    bench.config("in.csv.gz", columns=COLUMNS)
    bench.failed()
    bench.write("in.csv.gz", gz(CSV[:cut]) + gz(CSV[cut:]))
    report = bench.done()
    assert report.closed.rows.read == CSV.count(b"\n") - 1 == ROWS
    assert bench.query("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM clean") == [(ROWS, ROWS, 0, ROWS - 1)]
    assert bench.accounts()["loaded"] == ROWS


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("suffix", "pack"), [(".csv.gz", gzip.compress), (".jsonl.zst", zst), (".csv.zip", lambda data: zipped(("in.csv", data)))]
)
def test_a_decompression_bomb_fails_by_name(bench, monkeypatch, suffix, pack):
    monkeypatch.setattr(compressed, "EXPANDED_BYTES_FREE", 1 << 16)
    path = bench.write(f"in{suffix}", pack(b"id,ts\n" + b"\0" * (8 << 20)))
    bench.config(f"in{suffix}", columns=COLUMNS)
    failures = bench.planned_failures()
    assert {code for code, _ in failures} == {"source_unreadable"}
    assert all(error.startswith(f"{path}: expands ") and "bomb" in error for _, error in failures)
