"""Operators: a folder each, with the public names in `__init__`, the definition in `reference.py`, kernels beside it.

A layer asks for a kernel once, when it is built (`choose`), and runs it ever after. Knows no model.
"""
