"""The rows of the table of names, by area."""
