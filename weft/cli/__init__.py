"""The `weft` command: one file per subcommand. The only readers of environment variables besides `resolve/hub.py`."""
