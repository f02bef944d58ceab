"""Memory planning: the plan, the sizes of the cache groups, the cache tensors, and the report at start."""
