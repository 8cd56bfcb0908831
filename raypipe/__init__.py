"""raypipe: time-partitioned data pipelines on Ray, exactly once."""

__version__ = "0.1.0"
