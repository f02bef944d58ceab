"""vLLM's interface of models with media: what their files subclass, register and call while prompts are processed."""
