"""The examples of docs/pooling.md run."""

from __future__ import annotations

import re
from pathlib import Path

from sparse_models import write_m3, write_splade
from tiny_encoders import MAX_LEN, write_encoder
from tiny_poolers import GROUPED, write_model
from toy_engine import save_tokenizer
from word_tokenizer import save_word_tokenizer

PAGE = (Path(__file__).parents[2] / "docs" / "pooling.md").read_text()


def run_example(text: str, **places: Path) -> None:
    """Run the one Python block that has `text`, with models at the `places` that it names path/to/…"""
    [source] = [block for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
                if text in block]
    for name, place in places.items():
        source = source.replace(f"path/to/{name}", str(place))
    exec(compile(source, "docs/pooling.md", "exec"), {"__name__": "example"})


def test_texts_are_classified(tmp_path, capsys):
    write_model(tmp_path, "BertForSequenceClassification", num_labels=2, max_position_embeddings=MAX_LEN)
    save_tokenizer(tmp_path)

    run_example("llm.classify", classifier=tmp_path)

    assert [len(eval(line)) for line in capsys.readouterr().out.splitlines()] == [2, 2]


def test_texts_are_found_by_their_vectors(tmp_path, capsys):
    write_encoder(tmp_path)
    save_tokenizer(tmp_path)

    run_example("for text, output in zip(texts", embedder=tmp_path)

    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "Bread is baked from flour.", "Iron is smelted from ore."]


def test_found_texts_are_ranked(tmp_path, capsys):
    write_model(tmp_path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    save_tokenizer(tmp_path)

    run_example("path/to/reranker", reranker=tmp_path)

    assert capsys.readouterr().out.strip() in ("Bread is baked from flour.", "Iron is smelted from ore.")


def test_a_model_that_generates_ranks(tmp_path, capsys):
    write_model(tmp_path, "Qwen3ForCausalLM", **GROUPED)
    save_word_tokenizer(tmp_path, "no", "yes")

    run_example("classifier_from_token", **{"qwen3-reranker": tmp_path})

    assert 0 < float(capsys.readouterr().out) < 1


def test_a_text_has_the_weights_of_tokens(tmp_path, capsys):
    write_splade(tmp_path)
    save_tokenizer(tmp_path)

    run_example("BertSpladeSparseEmbeddingModel", splade=tmp_path)

    assert len(eval(capsys.readouterr().out)) == 5


def test_bge_m3_gives_three_things(tmp_path, capsys):
    write_m3(tmp_path)
    save_tokenizer(tmp_path)

    run_example("BgeM3EmbeddingModel", **{"bge-m3": tmp_path})

    length = len("How is bread made?")      # tokens are bytes; no token begins or ends the prompt
    assert capsys.readouterr().out.strip() == f"64 torch.Size([{length}, 64]) torch.Size([{length}, 1])"
