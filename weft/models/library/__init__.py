"""Programmed models with the classes and attribute names that vLLM's models have, for files that borrow from them.

weft itself runs these architectures from their descriptions, which are shorter and faster.
"""
