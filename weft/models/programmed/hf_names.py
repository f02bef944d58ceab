"""A checkpoint under Hugging Face names, which `load_weights` of programmed models knows, whatever its files have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, families
from weft.architectures.spec import DecoderSpec, ModelSpec
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.renamed import RenamedCheckpoint
from weft.config.engine_config import ModelConfig
from weft.errors import NotBuiltError
from weft.layers.context import LayerContext
from weft.models.decoder import Decoder
from weft.models.described import names_in


def under_hf_names(checkpoint: Checkpoint, model: ModelConfig, dtype: torch.dtype) -> Checkpoint:
    """The checkpoint, unchanged unless it is a GGUF file or in Mistral's own format.

    Their names lead to Hugging Face names by the description of the config's architecture.
    NotBuiltError where weft has no such description, or none with names for this kind of file.
    """
    if not checkpoint.is_gguf and not checkpoint.is_mistral:
        return checkpoint
    names = model.hf_config["architectures"]
    known: list[Architecture] = [families()[name] for name in names if name in families()]
    if not known:
        raise NotBuiltError("architectures", list(names), expected="an architecture that weft describes (weft models)",
                            source=model.config_source,
                            hint=f"{checkpoint.path} has other tensor names than Hugging Face files, and only a "
                            "description says which is which. Convert it to safetensors.")
    spec = known[0].describe(ConfigReader(model.hf_config, source=model.config_source, origins=model.origins))
    return RenamedCheckpoint(checkpoint, names_in(checkpoint, spec), spec.names, partial(_home_rows, spec, dtype))


def _home_rows(spec: ModelSpec, dtype: torch.dtype) -> Mapping[str, int]:
    """{home: rows} of the described model, which is made without memory."""
    assert isinstance(spec, DecoderSpec), "only decoders have names in such files"
    module = Decoder(spec, tied=False, context=LayerContext(dtype))
    return {name: home.whole_shape[0] for name, home in module.homes().items() if home.whole_shape}
