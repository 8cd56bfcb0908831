"""KnownSlices: what the source answered while one plan is made, so that it is asked for each window once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import InputPart, Slice
from raypipe.core.window import Window

SlicesOf = Callable[[Sequence[Window]], Sequence[tuple[Slice, ...]]]
FingerprintsOf = Callable[[Sequence[Window]], Sequence[str]]


class KnownSlices:
    """The slices of the windows that were asked for."""

    def __init__(self, slices_of: SlicesOf, fingerprints_of: FingerprintsOf | None = None) -> None:
        self._slices_of = slices_of
        self._fingerprints_of = fingerprints_of
        self._known: dict[Window, tuple[Slice, ...]] = {}
        self._expected: Sequence[Window] = ()

    def expect(self, windows: Sequence[Window]) -> None:
        """Ask for these along with the next question: each looks through all that is known of the source."""
        self._expected = windows

    def of(self, windows: Sequence[Window]) -> list[tuple[Slice, ...]]:
        """Return the slices of each window."""
        found = [self._known.get(window) for window in windows]
        unknown = [window for window, slices in zip(windows, found, strict=True) if slices is None]
        if unknown:
            asked = list(dict.fromkeys((*unknown, *self._expected)))
            self._known.update(zip(asked, self._slices_of(asked), strict=True))
            self._expected = ()
        return [self._known[window] if slices is None else slices for window, slices in zip(windows, found, strict=True)]

    def fingerprints(self, windows: Sequence[Window]) -> list[str]:
        """Return the input of each window as it is now; where many are compared, their slices are not asked for."""
        if self._fingerprints_of is not None and len(windows) > len(self._expected):
            return list(self._fingerprints_of(windows))
        return [input_fingerprint(mine) for mine in self.of(windows)]

    def shrunk(self, inputs: Iterable[InputPart]) -> dict[InputPart, int]:
        """Return the parts of live ranges for which the source has fewer files than they were read from, and how many."""
        asked = sorted(set(inputs))
        counts = map(len, self.of([part.window for part in asked]))
        return {part: count for part, count in zip(asked, counts, strict=True) if count < part.files}
