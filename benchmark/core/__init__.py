"""The ground floor: specs, registry, interfaces, errors, clip and budget helpers, losses, per-clip randomness."""
