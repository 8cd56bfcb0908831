"""What ships to users for proving pipelines: a frozen clock, crash tests, the oracle, the simulation."""
