"""Fingerprints: hashes of what a result was made from, the same in every process and version."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring as quoted
from typing import Any

from raypipe.core.shard import InputFile, InputPart, Observed, OutputStat, Slice
from raypipe.core.window import Window

_DIGEST_MODULUS = 2**128
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)  # made once: a run asks 10,000 times


def fingerprint(value: Any) -> str:
    """Return a hash of plain values (dicts, lists, text, numbers); the order of dict keys does not matter."""
    return _hash(_CANONICAL.encode(value))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


Identity = tuple[str, str] | tuple[str, int, str]
"""What tells the content of a slice: the file and the digest of its rows, or the file, its size and its version."""


def identity(file: InputFile, digest: str) -> Identity:
    """Return what tells the content of a slice of a file: the digest of its rows, where there is one."""
    return (file.uri, digest) if digest else (file.uri, file.size_bytes, file.version)


def input_fingerprint(slices: Sequence[Slice]) -> str:
    """Return the hash of a shard's input.

    A routed slice is identified by the digest of its rows, so that a file replaced with one row changed makes late
    only the shards whose slice changed. Other slices are identified by the version of their file. What is read for the
    lookback and the lookahead counts too, as something else than the shard's own.
    """
    own = [identity(one.file, one.digest) for one in slices if one.own]
    if len(own) == len(slices):
        return fingerprint_of(own)
    before = sorted(identity(one.file, one.digest) for one in slices if one.lookback)
    after = sorted(identity(one.file, one.digest) for one in slices if one.lookahead)
    seen = [[name, identities] for name, identities in (("lookback", before), ("lookahead", after)) if identities]
    return fingerprint([*sorted(own), *seen])


def fingerprint_of(identities: Sequence[Identity]) -> str:
    """Return the hash of the input of a shard that sees nothing around it: written by hand, for 10,000 shards a run."""
    ordered = sorted(identities) if len(identities) > 1 else identities
    return _hash(f"[{','.join([_text(one) for one in ordered])}]")


def parts_fingerprint(parts: Iterable[InputPart]) -> str:
    """Return the name of what a compacted range was made from. It is compared with no listing: each part is, for itself."""
    return fingerprint([[one.window.start_us, one.window.end_us, one.input_fp, one.files] for one in sorted(parts)])


def _text(one: Identity) -> str:
    if len(one) == 2:
        return f"[{quoted(one[0])},{quoted(one[1])}]"
    return f"[{quoted(one[0])},{one[1]},{quoted(one[2])}]"


def output_fingerprint(outputs: Mapping[str, OutputStat]) -> str:
    """Return the hash of all contributions of a shard: rows and multiset digest of each table."""
    told = [f"{label}{outputs[table].rows},{quoted(outputs[table].digest)}]" for table, label in _labels(tuple(outputs))]
    return _hash(f"{{{','.join(told)}}}")


@functools.lru_cache(maxsize=64)  # pipelines of one process, and the outputs that some shards are done for alone
def _labels(tables: tuple[str, ...]) -> Sequence[tuple[str, str]]:
    """Return tables in order, each with what stands before its rows: the same for all shards of a run."""
    return [(table, f"{quoted(table)}:[") for table in sorted(tables)]


def commit_id(run_id: str, shards: Iterable[tuple[Window, str, str, frozenset[Observed]]]) -> str:
    """Return the identity of a commit: run, ranges, outcomes, output fingerprints and observed, without the epoch.

    Written by hand, as JSON would be: for nothing else is done while all shards of a run wait for it.
    """
    parts = sorted(
        [
            (window.start_us, window.end_us, outcome, output_fp, sorted(observed) if observed else [])
            for window, outcome, output_fp, observed in shards
        ]
    )
    told = [
        f"[{start_us},{end_us},{quoted(outcome)},{quoted(output_fp)},{_observed_text(seen) if seen else '[]'}]"
        for start_us, end_us, outcome, output_fp, seen in parts
    ]
    return _hash(f"[{quoted(run_id)},[{','.join(told)}]]")


def _observed_text(observed: Iterable[Observed]) -> str:
    return f"[{','.join([f'[{one.start_us},{one.end_us},{one.seq}]' for one in observed])}]"


def combine_digests(digests: Sequence[str]) -> str:
    """Return the multiset digest of the union of rows: the sum of the digests mod 2**128, in hex."""
    return digest_hex(sum(int(one, 16) for one in digests))


def digest_hex(total: int) -> str:
    """Return a sum of 128-bit row hashes as 32 hex digits, mod 2**128."""
    return f"{total % _DIGEST_MODULUS:032x}"
