"""The `weft` command: one file per subcommand. Only these and `resolve/sources/environment.py` read the environment."""
