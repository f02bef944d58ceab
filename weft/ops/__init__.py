"""Operators, a folder each: public names in `__init__`, the definition in `reference.py`, faster kernels beside it.

A layer chooses a kernel once, when it is built (`choose`), and runs that kernel from then on. Operators know no model.
"""
