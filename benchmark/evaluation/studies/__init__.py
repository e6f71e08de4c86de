"""Findings of papers, tested again on the embedded world."""
