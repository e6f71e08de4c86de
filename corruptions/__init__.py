"""Corruptions of clips: one file per family."""
