"""`weft bench`: measurements with a warm-up, medians and percentiles. One file per subcommand."""
