"""Quantization at load reaches the layers of a programmed model that ask for it, and says so where it does not."""

import logging

import pytest
from programmed_llama import MyLlama
from programmed_mixtral import MyMixtral
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS

from weft import LLM
from weft.errors import ConfigError


def opened(path, model_class, **options):
    return LLM(model=str(path), model_class=model_class, dtype="float32", max_model_len=64, skip_tokenizer_init=True,
               num_threads=1, use_tqdm_on_load=False, **options)


class Forgetful(MyLlama):
    """Passes no quant_config on."""

    def __init__(self, *, vllm_config, prefix=""):
        before, vllm_config.quant_config = vllm_config.quant_config, None
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        vllm_config.quant_config = before


@pytest.mark.parametrize("quantization", ["int4", "int8", "w8a8"])
def test_a_model_whose_layers_get_no_quant_config_is_refused(tmp_path, quantization):
    write_checkpoint(VARIANTS["llama"], tmp_path)

    with pytest.raises(ConfigError, match=rf"quantization = '{quantization}'.*Forgetful gives quant_config to none of "
                       r"its layers.*Give quant_config=vllm_config.quant_config"):
        opened(tmp_path, Forgetful, quantization=quantization)
    with opened(tmp_path, Forgetful) as llm:
        assert llm.apply_model(type) == [Forgetful]


def test_layers_that_stay_floats_are_named_once(tmp_path, caplog):
    write_checkpoint(VARIANTS["mixtral"], tmp_path)
    caplog.set_level(logging.INFO, logger="weft")

    with opened(tmp_path, MyMixtral, quantization="int4"):
        pass

    said = [record.getMessage() for record in caplog.records if "quant_config" in record.getMessage()]
    assert said == ["MyMixtral: int4 quantizes 8 layers; these were given no quant_config and stay floats: "
                    "model.layers.*.block_sparse_moe.gate (2)"]
