"""Architectures, model cards, checkpoints."""
