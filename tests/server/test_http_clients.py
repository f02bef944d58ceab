"""Embedding and rerank classes of others, unchanged: Cohere's client, LangChain's and LlamaIndex' classes.

OpenAI's client has its test in test_http_embeddings.py. The packages are those of the extra `clients`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from http_server import running_server
from tiny_encoders import MAX_LEN, write_encoder, write_sentence_files
from tiny_poolers import write_model
from word_tokenizer import save_word_tokenizer

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

QUERY, TEXTS = "w1 w2 w3", ["w4 w5", "w1 w2 w6 w7 w8 w9", "w3"]


@contextlib.contextmanager
def served(path: Path):
    """The URL of a server of a model."""
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(path), num_threads=1, dtype="float32",
                                                  served_model_name=("tiny",), use_tqdm_on_load=False))
    try:
        with running_server(engine, ServerOptions()) as url:
            yield url
    finally:
        engine.shutdown()


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """(URL, the vectors of TEXTS)."""
    path = tmp_path_factory.mktemp("embedder")
    model, tokenizer = write_encoder(path), save_word_tokenizer(path)
    write_sentence_files(path)
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in TEXTS]
    with served(path) as url:
        yield url, F.normalize(torch.stack(means), dim=-1)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    """(URL, the places of TEXTS, best first, and their scores)."""
    path = tmp_path_factory.mktemp("cross")
    model = write_model(path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    tokenizer = save_word_tokenizer(path)
    with torch.inference_mode():
        scores = [float(model(**tokenizer(QUERY, text, return_tensors="pt")).logits.sigmoid()) for text in TEXTS]
    with served(path) as url:
        yield url, sorted(((i, score) for i, score in enumerate(scores)), key=lambda item: -item[1])


def same_vectors(found, wanted) -> bool:
    return torch.allclose(torch.tensor(found, dtype=torch.float32), wanted, atol=2e-5)


def same_ranking(found, wanted) -> bool:
    return [i for i, _ in found] == [i for i, _ in wanted] and [score for _, score in found] == pytest.approx(
        [score for _, score in wanted], abs=1e-5)


def test_coheres_client_embeds(embedder):
    cohere = pytest.importorskip("cohere")
    url, vectors = embedder

    floats = cohere.Client("key", base_url=url).embed(texts=TEXTS, model="tiny", input_type="search_document")
    newer = cohere.ClientV2("key", base_url=url).embed(
        texts=TEXTS, model="tiny", input_type="clustering", embedding_types=["float", "int8", "ubinary"])

    assert same_vectors(floats.embeddings, vectors) and same_vectors(newer.embeddings.float_, vectors)
    assert len(newer.embeddings.int8[0]) == 64 and len(newer.embeddings.ubinary[0]) == 8
    assert newer.meta.billed_units.input_tokens == 15


def test_coheres_client_ranks(reranker):
    cohere = pytest.importorskip("cohere")
    url, wanted = reranker

    older = cohere.Client("key", base_url=url).rerank(query=QUERY, documents=[{"text": text} for text in TEXTS],
                                                      model="tiny", return_documents=True)
    newer = cohere.ClientV2("key", base_url=url).rerank(query=QUERY, documents=TEXTS, model="tiny", top_n=2)

    assert same_ranking([(entry.index, entry.relevance_score) for entry in older.results], wanted)
    assert [entry.document.text for entry in older.results] == [TEXTS[i] for i, _ in wanted]
    assert same_ranking([(entry.index, entry.relevance_score) for entry in newer.results], wanted[:2])


def test_langchain_embeds(embedder):
    openai = pytest.importorskip("langchain_openai")
    cohere = pytest.importorskip("langchain_cohere")
    url, vectors = embedder
    by_openai = openai.OpenAIEmbeddings(model="tiny", base_url=f"{url}/v1", api_key="key",
                                        check_embedding_ctx_length=False)      # else it sends another tokenizer's ids
    by_cohere = cohere.CohereEmbeddings(model="tiny", cohere_api_key="key", base_url=url)

    assert same_vectors(by_openai.embed_documents(TEXTS), vectors)
    assert same_vectors([by_openai.embed_query(TEXTS[0])], vectors[:1])
    assert same_vectors(by_cohere.embed_documents(TEXTS), vectors)


def test_langchain_ranks(reranker):
    cohere = pytest.importorskip("langchain_cohere")
    url, wanted = reranker

    ranked = cohere.CohereRerank(model="tiny", cohere_api_key="key", base_url=url, top_n=3).rerank(TEXTS, QUERY)

    assert same_ranking([(entry["index"], entry["relevance_score"]) for entry in ranked], wanted)


def test_llama_index_embeds(embedder):
    openai = pytest.importorskip("llama_index.embeddings.openai_like")
    url, vectors = embedder

    found = openai.OpenAILikeEmbedding(model_name="tiny", api_base=f"{url}/v1", api_key="key")

    assert same_vectors(found.get_text_embedding_batch(TEXTS), vectors)
    assert same_vectors([found.get_query_embedding(TEXTS[1])], vectors[1:2])


@pytest.mark.parametrize("kind", ["cohere", "jina"])
def test_llama_index_ranks(reranker, kind):
    url, wanted = reranker
    if kind == "cohere":
        cls, base = pytest.importorskip("llama_index.postprocessor.cohere_rerank").CohereRerank, url
    else:
        cls, base = pytest.importorskip("llama_index.postprocessor.jinaai_rerank").JinaRerank, f"{url}/v1"
    schema = pytest.importorskip("llama_index.core.schema")
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(i))) for i, text in enumerate(TEXTS)]

    ranked = cls(api_key="key", base_url=base, model="tiny", top_n=3).postprocess_nodes(nodes, query_str=QUERY)

    assert same_ranking([(int(found.node.node_id), found.score) for found in ranked], wanted)
