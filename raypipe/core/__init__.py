"""Pure values and decisions: standard library only, no clock, no randomness, no input or output."""
