"""How pictures of a board are drawn."""
