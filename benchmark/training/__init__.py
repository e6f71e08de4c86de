"""One training loop that every recipe uses."""
