"""Attacks on clips: one file per attack, each standing on benchmark/core alone."""
