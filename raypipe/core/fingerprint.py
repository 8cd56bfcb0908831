"""Fingerprints: hashes of what a result was made from, the same in every process and version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring as quoted
from typing import Any

from raypipe.core.shard import InputPart, Observed, OutputStat, Slice
from raypipe.core.window import Window

_DIGEST_MODULUS = 2**128
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)  # made once: a run asks 10,000 times


def fingerprint(value: Any) -> str:
    """Return a hash of plain values (dicts, lists, text, numbers); the order of dict keys does not matter."""
    return _hash(_CANONICAL.encode(value))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def input_fingerprint(slices: Sequence[Slice]) -> str:
    """Return the hash of a shard's input.

    A routed slice is identified by the digest of its rows, so that a file replaced with one row changed makes late
    only the shards whose slice changed. Other slices are identified by the version of their file. What is read for the
    lookback and the lookahead counts too, as something else than the shard's own.
    """
    own = sorted([_identity(one) for one in slices if one.own])
    if len(own) == len(slices):  # as JSON would be written, for a run that asks this of 10,000 shards
        return _hash(f"[{','.join([_text(one) for one in own])}]")
    before = sorted(_identity(one) for one in slices if one.lookback)
    after = sorted(_identity(one) for one in slices if one.lookahead)
    seen = [[name, identities] for name, identities in (("lookback", before), ("lookahead", after)) if identities]
    return fingerprint([*own, *seen])


def parts_fingerprint(parts: Iterable[InputPart]) -> str:
    """Return the name of what a compacted range was made from. It is compared with no listing: each part is, for itself."""
    return fingerprint([[one.window.start_us, one.window.end_us, one.input_fp, one.files] for one in sorted(parts)])


def _identity(one: Slice) -> list[Any]:
    return [one.file.uri, one.digest] if one.digest else [one.file.uri, one.file.size_bytes, one.file.version]


def _text(identity: Sequence[str | int]) -> str:
    return f"[{','.join([quoted(one) if isinstance(one, str) else str(one) for one in identity])}]"


def output_fingerprint(outputs: Mapping[str, OutputStat]) -> str:
    """Return the hash of all contributions of a shard: rows and multiset digest of each table."""
    told = [f"{quoted(table)}:{_text((outputs[table].rows, outputs[table].digest))}" for table in sorted(outputs)]
    return _hash(f"{{{','.join(told)}}}")


def commit_id(run_id: str, shards: Iterable[tuple[Window, str, str, frozenset[Observed]]]) -> str:
    """Return the identity of a commit: run, ranges, outcomes, output fingerprints and observed, without the epoch."""
    parts = [
        [window.start_us, window.end_us, outcome, output_fp, sorted([o.start_us, o.end_us, o.seq] for o in observed)]
        for window, outcome, output_fp, observed in shards
    ]
    return fingerprint([run_id, sorted(parts)])


def combine_digests(digests: Sequence[str]) -> str:
    """Return the multiset digest of the union of rows: the sum of the digests mod 2**128, in hex."""
    return digest_hex(sum(int(one, 16) for one in digests))


def digest_hex(total: int) -> str:
    """Return a sum of 128-bit row hashes as 32 hex digits, mod 2**128."""
    return f"{total % _DIGEST_MODULUS:032x}"
