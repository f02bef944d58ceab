"""`weft cache`: what is downloaded, and how to be rid of it. One file per subcommand."""
