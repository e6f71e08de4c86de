"""Defences of a model: one file per defence."""
