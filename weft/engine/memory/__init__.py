"""Memory before and at start: the plan, how caches are fitted into it, their tensors, and the report at start."""
