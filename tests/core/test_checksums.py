"""Checksums: a staged file that is gone, cut or changed is named; one that cannot be read never passes for a good one."""

from __future__ import annotations

from raypipe.core.checksums import find_damage


def sha256_of(files):
    def read(name):
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name]

    return read


def test_files_that_are_what_the_manifest_says_have_no_damage():
    assert find_damage({"a": "1", "b": "2"}, sha256_of({"a": "1", "b": "2", "more": "3"})) is None
    assert find_damage({}, sha256_of({})) is None


def test_a_changed_file_is_named_with_both_sums():
    assert find_damage({"a": "1", "b": "2"}, sha256_of({"a": "1", "b": "x"})) == (
        "b is not what its manifest says: sha256 x..., expected 2..."
    )


def test_a_file_that_is_gone_is_damage():
    assert find_damage({"a": "1", "b": "2"}, sha256_of({"a": "1"})) == "b cannot be read: No such file or directory"
