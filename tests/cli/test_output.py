from __future__ import annotations

import subprocess
import sys
import threading

from rich.console import Group
from rich.text import Text

from raypipe.cli.output import Output


def test_text_goes_to_standard_output_and_notes_to_standard_error(capsys):
    out = Output()

    out.line("answer")
    out.note("note")
    out.document({"a": 1})

    assert capsys.readouterr() == ("answer\n", "note\n")


def test_with_json_only_the_document_is_on_standard_output(capsys):
    out = Output(as_json=True)

    out.line("answer")
    out.show(Text("table"))
    out.result(Text("summary"))
    out.document({"a": "\x1b"})

    assert capsys.readouterr() == ('{\n  "a": "\\u001b"\n}\n', "summary\n")


def test_data_is_never_taken_for_markup_or_colour(capsys):
    Output().show("[red]x[/red] [2013-01-01, 2014) :smile:")

    assert capsys.readouterr().out == "[red]x[/red] [2013-01-01, 2014) :smile:\n"


def test_a_long_command_is_neither_cut_nor_folded(capsys):
    command = "raypipe run " + "x" * 500

    Output().show(Group(Text(command, no_wrap=True, overflow="ignore")))

    assert capsys.readouterr().out == command + "\n"


def test_documents_are_gathered_into_one(capsys):
    out = Output(as_json=True)
    gathered = out.gathering()

    gathered.document({"a": 1})

    assert gathered.gathered == [{"a": 1}]
    assert capsys.readouterr().out == ""


def test_a_reader_that_went_away_is_no_error():
    code = """
import sys
from raypipe.cli.output import Output
out = Output()
for number in range(20_000):
    out.line(f"line {number}")
sys.exit(7)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    watch = threading.Timer(60, process.kill)
    watch.start()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 7
    watch.cancel()
    assert errors == b""
