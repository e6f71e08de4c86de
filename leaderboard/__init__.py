"""From stored cells to tables and leaderboards."""
