"""Files written for vLLM: what their `import vllm…` statements get.

`finder.py` lets such statements in a plugin or model file reach `modules.py`; `tables/` says which weft object a name
means; `placeholder.py` stands for every other name.
"""
