"""Functions at the top of a module, as the engine's process imports them."""


def name_of_type(model):
    return type(model).__name__


def num_blocks(worker, group, *, times=1):
    return worker.memory.num_blocks[group] * times
