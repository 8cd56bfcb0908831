"""Watching a run: progress while it goes on, the log of its events, and the summary at its end. Nothing here may fail a run."""
