"""The regression gate: a store against a baseline, paired on the same clips."""
