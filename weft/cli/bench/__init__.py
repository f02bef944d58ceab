"""`weft bench`: measurements with a warm-up, medians and percentiles. One file for each, `report.py` for what they print."""
