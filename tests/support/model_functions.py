"""Functions at the top of a module, as the engine's process imports them."""

import gc


def name_of_type(model):
    return type(model).__name__


def num_blocks(worker, group, *, times=1):
    return worker.memory.num_blocks[group] * times


def num_frozen_objects(model):
    return gc.get_freeze_count()
