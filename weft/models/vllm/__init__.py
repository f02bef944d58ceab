"""Objects that only files written for vLLM need: what their constructors and forward passes ask the engine about.

`weft/compat/vllm/tables` says by which of vLLM's names they are reached. Facts about names and arguments: vLLM.
"""
