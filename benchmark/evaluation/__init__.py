"""How a measurement is made: threat models, cells, checks, store, run."""
