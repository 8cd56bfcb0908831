"""Checksums: whether staged files are those that their manifest was written for."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def find_damage(checksums: Mapping[str, str], sha256_of: Callable[[str], str]) -> str | None:
    """Say what is wrong with the first file that is gone, cut or changed; None when each is what its manifest says.

    `sha256_of` returns the sha256 of a file by its name, in hex, and raises OSError when it cannot be read.
    """
    for name, expected in checksums.items():
        try:
            found = sha256_of(name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        if found != expected:
            return f"{name} is not what its manifest says: sha256 {found[:12]}..., expected {expected[:12]}..."
    return None
