"""What keeps long work: nothing that was measured is lost."""
