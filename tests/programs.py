"""Programs in processes of their own, for what an import leaves: what is loaded stays loaded."""

from __future__ import annotations

import subprocess
import sys


def words_of(program: str, *arguments: str) -> list[str]:
    """Run a program and return the words that it prints; raises CalledProcessError where it fails."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.split()
