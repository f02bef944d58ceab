"""`weft cache`: lists and removes downloaded models. One file per subcommand."""
