"""What shows the summary is loaded beside the work of a run, and only where there will be one."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASKED = """
import sys, threading
from raypipe.core import events as ev
from raypipe.observe.prepared import Prepared
prepared = Prepared(shown={shown})
prepared.on(ev.Warned("nothing is open yet"))
assert not any(one.name == "raypipe-summary" for one in threading.enumerate())
prepared.on({event})
for one in threading.enumerate():
    if one.name == "raypipe-summary":
        assert one.daemon, "it hinders no end"
        one.join()
print("raypipe.observe.summary" in sys.modules and "rich.table" in sys.modules)
"""
OPENED = 'ev.RunOpened("p", "r", 1, "inline")'


@pytest.mark.parametrize(
    ("shown", "event", "loaded"),
    [(True, OPENED, "True"), (False, OPENED, "False"), (True, 'ev.Warned("still nothing")', "False")],
    ids=["opened", "quiet", "never opened"],
)
def test_the_summary_is_loaded_once_a_run_is_open(shown, event, loaded):
    told = subprocess.run(
        [sys.executable, "-c", ASKED.format(shown=shown, event=event)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == loaded
