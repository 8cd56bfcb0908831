from __future__ import annotations

import sys

import pytest

from perf.measure import CommandFailed, measure
from raypipe.runtime.shared_session import GUARDIAN

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; held = bytearray(80 << 20); time.sleep(0.6)'])"


def test_memory_of_child_processes_counts():
    assert measure([sys.executable, "-c", CHILD]).peak_bytes > 80 << 20


def test_memory_of_a_guardian_that_is_nobodys_child_counts():
    leaves = "import os, time; os.fork() and os._exit(0); held = bytearray(80 << 20); time.sleep(0.8)"
    starts = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {leaves!r}, {GUARDIAN!r}]); time.sleep(0.8)"
    assert measure([sys.executable, "-c", starts]).peak_bytes > 80 << 20


def test_what_a_child_computed_counts_however_short_it_lives():
    burns = "import time; from itertools import repeat\nwhile time.process_time() < 0.12: any(repeat(False, 10_000))"
    starts = f"import subprocess, sys\nfor _ in range(3): subprocess.run([sys.executable, '-c', {burns!r}])"
    assert measure([sys.executable, "-c", starts]).cpu_s > 0.36


def test_a_command_that_fails_is_no_measurement():
    with pytest.raises(CommandFailed, match="it broke"):
        measure([sys.executable, "-c", "raise SystemExit('it broke')"])


def test_a_command_that_is_meant_to_fail_is_one():
    assert measure([sys.executable, "-c", "raise SystemExit(3)"], expected=3).wall_s > 0


def test_much_output_does_not_hold_a_command_up():
    assert len(measure([sys.executable, "-c", "print('x' * 300_000)"]).output) > 300_000
