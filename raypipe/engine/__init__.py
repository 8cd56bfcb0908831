"""The data plane inside one task: contract, rules, steps, aggregation, staging. Knows nothing of Ray or of sources."""
