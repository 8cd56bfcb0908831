"""Hostile lines of CSV: each is loaded or set aside with its line, rule and reason; none is swallowed and none comes twice."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from raypipe.sources import lines as line_limits

HEADER = b"id,ts,amount,note\n"


def file_of(*lines: bytes) -> bytes:
    return HEADER + b"\n".join(lines) + b"\n"


RAGGED = file_of(
    b"2,2026-01-01T00:00:00,1.5,fine",
    b"3,2026-01-01T01:00:00,1.5",  # a value is missing
    b"4,2026-01-01T02:00:00,1.5,x,y",  # one too many
    b'5,2026-01-02T00:00:00,1.5,"open quote',
    b"6,2026-01-02T01:00:00,1.5,behind the open quote",
    b'7,2026-01-02T02:00:00,1.5,in"side',
    b"8,2026-01-02T03:00:00,1.5,fine",
    b"9,2026-01-03T00:00:00,a lot,not a number",
    b"ten,2026-01-03T01:00:00,1.5,not an id",
    b",2026-01-03T02:00:00,1.5,no id",
    b"12,yesterday,1.5,no time",
    b"13,2026-01-03T04:00:00,,nothing is null",
)
RAGGED_ASIDE = {
    3: "malformed_line",
    4: "malformed_line",
    5: "malformed_line",
    7: "malformed_line",
    9: "type_amount",
    10: "type_id",
    11: "required_id",
    12: "no_event_time",
}


def zipped(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.csv", data)
    return stream.getvalue()


@pytest.mark.fault(28)
@pytest.mark.parametrize(("suffix", "packed"), [("", bytes), (".zip", zipped)])
def test_ragged_lines_open_quotes_and_wrong_types_are_set_aside_one_by_one(bench, suffix, packed):
    path = bench.write(f"in.csv{suffix}", packed(RAGGED))
    bench.config(f"in.csv{suffix}")
    report = bench.done()
    bench.every_line_is_accounted(range(2, 14), RAGGED_ASIDE, path=path)
    assert report.closed.rows.read == RAGGED.count(b"\n") - 1
    errors = {position: error for position, (_, error) in bench.aside().items()}
    assert errors[3] == "got 3 values, expected 4"
    assert errors[4] == "got 5 values, expected 4"
    assert "quote at character 27 is not closed" in errors[5]
    assert errors[9] == "amount: got 'a lot', expected float64"
    assert errors[10] == "id: got 'ten', expected int64"
    assert errors[11] == "id: got no value, but it is required"
    assert errors[12] == "ts: got 'yesterday', expected a time in the format 'iso'"
    raws = dict(bench.query("SELECT position, raw FROM _raypipe.quarantine"))
    assert raws[5] == '5,2026-01-02T00:00:00,1.5,"open quote'
    assert bench.query("SELECT amount, note FROM clean WHERE id = 13") == [(None, "nothing is null")]


@pytest.mark.fault(28)
def test_with_line_breaks_in_quotes_an_unclosed_quote_still_swallows_nothing(bench):
    content = file_of(
        b'2,2026-01-01T00:00:00,1.5,"two', b'lines"', b'4,2026-01-01T02:00:00,1.5,"never closed', b"5,2026-01-01T03:00:00,1.5,fine"
    )
    path = bench.write("in.csv", content)
    bench.config("in.csv", source__csv={"multiline": True})
    bench.done()
    bench.every_line_is_accounted([2, 4, 5], {4: "malformed_line"}, path=path)  # lines 2 and 3 are one record
    assert bench.column("SELECT note FROM clean WHERE id = 2") == ["two\nlines"]


@pytest.mark.fault(29)
def test_bytes_that_are_no_text_set_their_line_aside_with_the_raw_bytes(bench):
    content = file_of(
        b"2,2026-01-01T00:00:00,1.5,caf\xc3\xa9",
        b"3,2026-01-01T01:00:00,1.5,caf\xe9 \xff",
        b"4,2026-01-01T02:00:00,1.5,\xef\xbf\xbd",
    )
    path = bench.write("in.csv", content)
    bench.config("in.csv")
    bench.done()
    bench.every_line_is_accounted([2, 3, 4], {3: "bad_encoding"}, path=path)
    assert bench.query("SELECT raw, error FROM _raypipe.quarantine") == [
        (
            r"3,2026-01-01T01:00:00,1.5,caf\xe9 \xff",
            "got byte 0xe9 at byte 30 of the line (invalid continuation byte), expected utf-8 text",
        )
    ]
    assert bench.query("SELECT id, note FROM clean ORDER BY id") == [(2, "café"), (4, "\ufffd")]


@pytest.mark.fault(29)
def test_a_file_of_another_encoding_fails_by_name_with_the_remedy_and_reads_with_it(bench):
    content = "id,ts,amount,note\n2,2026-01-01T00:00:00,1.5,café\n".encode("utf-16")
    path = bench.write("in.csv", content)
    bench.config("in.csv")
    failures = bench.failed()
    assert {code for code, _ in failures} == {"source_unreadable"}
    assert all(str(path) in error and "source.csv.encoding: utf-16" in error for _, error in failures)
    bench.config("in.csv", source__csv={"encoding": "utf-16"})
    bench.done()
    assert bench.query("SELECT id, note FROM clean") == [(2, "café")]


@pytest.mark.fault(30)
def test_a_nul_byte_is_kept_as_it_is(bench):
    path = bench.write("in.csv", file_of(b"2,2026-01-01T00:00:00,1.5,a\x00b", b"3,2026-01-01T01:00:00,1\x005,c"))
    bench.config("in.csv")
    bench.done()
    bench.every_line_is_accounted([2, 3], {3: "type_amount"}, path=path)
    assert bench.column("SELECT note FROM clean") == ["a\x00b"]


@pytest.mark.fault(33)
def test_an_endless_line_is_set_aside_and_the_lines_behind_it_are_read(bench, monkeypatch):
    monkeypatch.setattr(line_limits.blocks, "__kwdefaults__", {"block_bytes": 1 << 16, "line_bytes_max": 1 << 20})
    content = file_of(
        b"2,2026-01-01T00:00:00,1.5,fine", b"3,2026-01-01T01:00:00,1.5," + b"x" * (3 << 20), b"4,2026-01-01T02:00:00,1.5,fine"
    )
    path = bench.write("in.csv.gz", gzip.compress(content))
    bench.config("in.csv.gz")
    bench.done()
    bench.every_line_is_accounted([2, 3, 4], {3: "line_too_long"}, path=path)
    assert bench.aside()[3][1] == "line 3 has 3,145,754 bytes, expected at most 1,048,576"
    ((raw, truncated),) = bench.query("SELECT raw, truncated FROM _raypipe.quarantine")
    assert len(raw) == 16_384
    assert raw.startswith("3,2026-01-01T01:00:00,1.5,xxx")
    assert truncated is True


@pytest.mark.fault(28)
def test_blank_lines_carriage_returns_and_a_missing_last_line_end_lose_nothing(bench):
    content = b"id,ts,amount,note\r\n2,2026-01-01T00:00:00,1.5,a\r\n\r\n4,2026-01-01T02:00:00,1.5,b\n\n6,2026-01-01T03:00:00,1.5,c"
    path = bench.write("in.csv", content)
    bench.config("in.csv")
    bench.done()
    bench.every_line_is_accounted([2, 4, 6], {}, path=path)
    assert bench.column("SELECT note FROM clean ORDER BY id") == ["a", "b", "c"]


@pytest.mark.fault(28)
def test_more_broken_lines_than_allowed_fail_their_shard_and_nothing_of_it_is_visible(bench):
    bench.write("in.csv", RAGGED)
    bench.config("in.csv", quality={"max_quarantined": {"share": 0.1, "at_least": 2}})
    report = bench.run()
    assert [(one.code, one.window.start_us) for one in report.closed.failures] == [
        ("too_many_quarantined", 1767225600000000),  # malformed lines count to the first shard of their file
        ("too_many_quarantined", 1767225600000000 + 2 * 86_400_000_000),
    ]
    assert "5 of 6 rows were quarantined (malformed_line: 4, no_event_time: 1)" in report.closed.failures[0].error
    assert bench.column("SELECT id FROM clean ORDER BY id") == [6, 8]
    assert bench.query("SELECT * FROM _raypipe.quarantine") == []
    bench.proven()
