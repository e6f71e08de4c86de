"""The command line: one file per verb group, which parses, calls one function and prints."""
