"""Programmed models: plain torch modules with vLLM's model interface, built from `weft.layers.public`."""
