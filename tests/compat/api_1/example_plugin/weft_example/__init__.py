"""Registers three models: a class, a class that is imported when it is used, and a description."""

from weft import ModelRegistry

requires_model_api = 1


def register():
    """The entry point. It runs in every process, maybe more than once."""
    from weft_example.described import described
    from weft_example.llama import ExampleLlamaForCausalLM

    ModelRegistry.register_model("ExampleLlamaForCausalLM", ExampleLlamaForCausalLM)
    ModelRegistry.register_model("LazyExampleForCausalLM", "weft_example.llama:ExampleLlamaForCausalLM")
    ModelRegistry.register_model("DescribedExampleForCausalLM", described)
