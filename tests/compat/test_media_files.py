"""Model files with images, in the style of both generations of vLLM's interface, give Transformers' tokens."""

from pathlib import Path

import pytest
from tiny_vision import NUM_ROWS, generated, picture, write_llava
from transformers import AutoProcessor

from weft import LLM, SamplingParams
from weft.errors import RequestError

FILES = Path(__file__).parent / "vllm_files"
COUNT = 8
PROMPTS = [("w1 w2 <image> w3 w4", (0,)), ("w5 <image> w6 <image> w7 w8", (0, 1)), ("w9 w10 w11 w12", ()),
           ("<image> w13", (2,)), ("w1 w2 <image> w3 w4 w14", (0,))]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """(directory, {file: tokens that Transformers gives}): g2's processor puts an image between two tokens."""
    directory = tmp_path_factory.mktemp("llava")
    model, between = write_llava(directory), {"g1": "<image>", "g2": "<boi> <image> <eoi>"}
    processor = AutoProcessor.from_pretrained(directory)
    return directory, {name: [generated(model, processor, text.replace("<image>", mark), [picture(i) for i in images],
                                        COUNT) for text, images in PROMPTS] for name, mark in between.items()}


def engine(directory, name, **options):
    return LLM(model=str(directory), **{
        "model_file": str(FILES / f"{name}_llava.py"), "dtype": "float32", "max_model_len": 96,
        "use_tqdm_on_load": False, "num_threads": 1} | options)


def ask(llm, prompts=PROMPTS, of=lambda text: {"prompt": text}):
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)
    given = [{**of(text), "multi_modal_data": {"image": [picture(i) for i in images]}} for text, images in prompts]
    outputs = llm.generate(given, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs], outputs


@pytest.mark.parametrize("name", ["g1", "g2"])
@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}], ids=str)
def test_tokens_are_those_of_transformers(llava, name, options):
    directory, wanted = llava

    with engine(directory, name, **options) as llm:
        first, outputs = ask(llm)
        again, _ = ask(llm)

    assert first == again == wanted[name]
    assert len(outputs[0].prompt_token_ids) == 4 + NUM_ROWS + (2 if name == "g2" else 0)


@pytest.mark.parametrize("name", ["g1", "g2"])
def test_token_ids_with_one_placeholder_are_as_good_as_text(llava, name):
    directory, wanted = llava

    with engine(directory, name) as llm:
        tokenizer = llm.get_tokenizer()
        found, _ = ask(llm, of=lambda text: {"prompt_token_ids": tokenizer.encode(text)})

    assert found == wanted[name]


def test_a_tower_without_its_last_layers_is_warned_of(llava, tmp_path, caplog):
    directory, wanted = llava
    code = (FILES / "g1_llava.py").read_text().replace(
        "CLIPVisionModel(config.vision_config)", "CLIPVisionModel(cut(config.vision_config))").replace(
        "states[self.config.vision_feature_layer]", "states[-1]").replace(
        "AutoWeightsLoader(self).load_weights(weights)",
        "AutoWeightsLoader(self).load_weights((n, x) for n, x in weights if 'tower.encoder.layers.2.' not in n)")
    file = tmp_path / "cut_llava.py"
    file.write_text(f"import copy\n{code}\n\ndef cut(config):\n    config = copy.copy(config)\n"
                    "    config.num_hidden_layers = 2\n    return config\n")

    with engine(directory, "g1", model_file=str(file)) as llm:
        found, _ = ask(llm)

    assert found == wanted["g1"]
    assert "takes nothing of these parts of the checkpoint: vision_tower.encoder.layers.2." in caplog.text


def test_an_image_without_a_place_and_too_many_images_are_refused(llava):
    directory, _ = llava

    with engine(directory, "g2") as llm:
        with pytest.raises(RequestError, match="0 places for 1 image items"):
            ask(llm, [("w1 w2", (0,))])
        with pytest.raises(RequestError, match="at most 2"):
            ask(llm, [("<image> <image> <image>", (0, 1, 2))])
        found, _ = ask(llm, PROMPTS[2:3])

    assert found
