"""Output: what goes to standard output and what to standard error, whoever reads it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, TextIO

from raypipe.lazy_dataclass import dataclass
from raypipe.observe.printable import escape

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPED_COLUMNS = 160  # a pipe has no width: wide enough that tables are seldom folded


@dataclass(slots=True)
class Output:
    """Standard output carries what was asked for: text, or with `--json` one document. All else goes to standard error."""

    as_json: bool = False
    verbose: bool = False
    quiet: bool = False
    gathered: list[Mapping[str, Any]] | None = None
    """Documents that are kept to become parts of one, instead of being printed."""
    _closed: set[int] = field(default_factory=set)

    def gathering(self) -> Output:
        """Return an output like this one that keeps its documents."""
        return replace(self, gathered=[])

    @property
    def wants_document(self) -> bool:
        """Whether a document is printed or kept at all: that of many shards takes a while to make."""
        return self.as_json or self.gathered is not None

    def document(self, document: Mapping[str, Any]) -> None:
        """Print the JSON document, where one was asked for."""
        if self.gathered is not None:
            self.gathered.append(document)
        elif self.as_json:
            self._write(sys.stdout, json.dumps(document, indent=2, ensure_ascii=True, default=str) + "\n")

    def show(self, *renderables: RenderableType) -> None:
        """Print tables and texts for a person, where no JSON was asked for."""
        if not self.as_json:
            self._render(sys.stdout, renderables)

    def line(self, text: str) -> None:
        """Print one line for a person, where no JSON was asked for."""
        if not self.as_json:
            self._write(sys.stdout, escape(text, keep_lines=True) + "\n")

    def result(self, *renderables: RenderableType) -> None:
        """Print how something ended: the answer for a person, beside the document for a script; nothing when quiet."""
        if not self.quiet:
            self._render(self._beside, renderables)

    def result_line(self, text: str) -> None:
        """Print how something ended in one line, like `result`."""
        if not self.quiet:
            self._write(self._beside, escape(text, keep_lines=True) + "\n")

    def note(self, text: str) -> None:
        """Print something that is not the answer on standard error."""
        self._write(sys.stderr, escape(text, keep_lines=True).rstrip("\n") + "\n")

    def printed(self, text: str) -> None:
        """Pass on what another process has printed, as it is but for control characters: it is not the answer."""
        self._write(sys.stderr, escape(text.expandtabs(), keep_lines=True))

    def error(self, text: str) -> None:
        """Print an error on standard error."""
        self.note(text)

    @property
    def _beside(self) -> TextIO:
        return sys.stderr if self.as_json else sys.stdout

    def _render(self, stream: TextIO, renderables: tuple[RenderableType, ...]) -> None:
        console = console_for(stream)
        with console.capture() as captured:
            for one in renderables:
                console.print(one, crop=False)
        self._write(stream, "".join(line.rstrip(" ") + "\n" for line in captured.get().splitlines()))

    def _write(self, stream: TextIO, text: str) -> None:
        """Write, and stop writing to a stream whose reader has gone: `raypipe status | head` is no error."""
        if id(stream) in self._closed:
            return
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            self._closed.add(id(stream))
            # What is buffered would be flushed, and fail again, when Python ends: it goes nowhere instead.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def console_for(stream: TextIO) -> Console:
    """Return a console that takes data as it is: no markup, no colours where NO_COLOR says so or nobody sees them."""
    from rich.console import Console

    width = None if stream.isatty() else PIPED_COLUMNS
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)
