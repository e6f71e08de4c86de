"""How cells are shared out: planned, claimed, worked on by many processes, and never lost."""
