"""Finds the description of an architecture by its numbers: from a Transformers class to a function of weft's parts."""
