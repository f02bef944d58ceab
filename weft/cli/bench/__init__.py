"""`weft bench`: measurements with a warm-up, medians and percentiles; one file each."""
