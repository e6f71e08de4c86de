"""`vbench train`."""
