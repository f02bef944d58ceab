"""Trains the model that ships with weft, from this folder alone: makes text, tokenizer, weights and model card.

    python tools/train_embedded.py                      # the defaults made the shipped checkpoint
    python tools/train_embedded.py --resume run/state.pt
    OMP_WAIT_POLICY=passive python tools/train_embedded.py   # several times as fast beside other busy programs

The text comes from `embedded_data.py`, the model from `embedded_model.py`, the card from `embedded_card.py`. A step's
text depends only on (seed, step), so an interrupted run resumes exactly where it stopped.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from embedded_card import write_card
from embedded_data import CHAT_TEMPLATE, END, END_OF_TEXT, START, Document, held_out_pairs, make_document
from embedded_model import Llama, LlamaSizes
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
EVALUATE_EVERY, SAVE_EVERY = 200, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How the model is trained; the defaults are those of the shipped checkpoint."""

    seed: int = 1
    vocab_size: int = 1536
    steps: int = 3700
    tokens_per_step: int = 4096  # as rows of 256 tokens, see `row_len`
    peak_lr: float = 3e-3
    warmup_steps: int = 200
    cosine_steps: int = 5600  # the length of the cosine, which the run leaves at `anneal_from`
    anneal_from: int = 2000  # from here on the rate falls in two lines, and fewer documents are sums
    first_line_steps: int = 2400  # the length of the first line, which the run leaves at `long_from`
    weight_decay: float = 0.1
    first_sum_share: float = 0.65  # of documents; until `anneal_from` it falls by `sum_share_fall` per cosine
    sum_share_fall: float = 0.5
    last_sum_share: float = 0.2
    long_from: int = 3000  # from here on two steps in five have long rows, and the rate falls faster


def row_len(schedule: Schedule, step: int) -> int:
    """Tokens per row at a step: 256 at first, later 1024 and 2048 now and then."""
    if step < schedule.long_from:
        return 256
    return (256, 1024, 256, 2048, 256)[step % 5]


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then part of a cosine, then a line, then a steeper line down to a hundredth of the peak."""
    if step < schedule.warmup_steps:
        return schedule.peak_lr * (step + 1) / schedule.warmup_steps
    done = (min(step, schedule.anneal_from) - schedule.warmup_steps) / (schedule.cosine_steps - schedule.warmup_steps)
    last = 0.01 * schedule.peak_lr
    cosine = last + (schedule.peak_lr - last) * (1 + math.cos(math.pi * done)) / 2
    on_first_line = max(0, min(step, schedule.long_from) - schedule.anneal_from) / schedule.first_line_steps
    line = cosine + (last - cosine) * on_first_line
    return line + (last - line) * max(0, step - schedule.long_from) / (schedule.steps - schedule.long_from)


def sum_share(schedule: Schedule, step: int) -> float:
    """The share of sums among the documents of a step: high until sums are learned, then low."""
    if step >= schedule.anneal_from:
        return schedule.last_sum_share
    return schedule.first_sum_share - schedule.sum_share_fall * step / schedule.cosine_steps


def train_tokenizer(schedule: Schedule) -> Tokenizer:
    """Train a byte-level BPE tokenizer on 20,000 documents; each digit is a separate token."""
    rng = random.Random(f"tokenizer {schedule.seed}")
    texts = ("".join(text for text, _ in make_document(rng, 0.2)) for _ in range(20000))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # The special tokens are cut out first, so that no merge is learned inside them.
    pieces = (piece.replace(START, "\n").replace(END, "\n").replace(END_OF_TEXT, "\n") for piece in texts)
    tokenizer.train_from_iterator(
        pieces,
        trainers.BpeTrainer(
            vocab_size=schedule.vocab_size,
            special_tokens=[END_OF_TEXT, START, END],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return tokenizer


def documents(schedule: Schedule, step: int, length: int) -> Iterator[Document]:
    """An endless iterator over the documents of a step; long rows sometimes hold long chats."""
    rng = random.Random(f"step {schedule.seed} {step}")
    share = sum_share(schedule, step)
    while True:
        num_turns = length // 30 if length > 256 and rng.random() < 0.1 else 0
        yield make_document(rng, share, num_turns)


def make_batch(schedule: Schedule, tokenizer: Tokenizer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of a step: documents one after another, each row starting with a new one.

    Returns:
        input_ids [N, T + 1] int64 and the loss weight of each token, [N, T + 1] float32.
    """
    length = row_len(schedule, step)
    source, rows = documents(schedule, step, length), []
    while len(rows) < schedule.tokens_per_step // length:
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < length + 1:
            for text, weight in next(source):
                token_ids = tokenizer.encode(text).ids
                ids += token_ids
                weights += [weight] * len(token_ids)
        rows.append((ids[: length + 1], weights[: length + 1]))
    return torch.tensor([ids for ids, _ in rows]), torch.tensor([weights for _, weights in rows])


@torch.no_grad()
def sum_accuracy(model: Llama, tokenizer: Tokenizer) -> float:
    """The share of held-out sums that the model answers correctly, each in a separate chat."""
    right, pairs = 0, held_out_pairs()[::3]
    for a, b in pairs:
        prompt = tokenizer.encode(f"{START}user\nWhat is {a} + {b}?{END}\n{START}assistant\n{a} + {b} =").ids
        result = tokenizer.encode(f" {a + b}.{END}").ids
        hidden_states = model(torch.tensor([prompt + result]))[0, len(prompt) - 1 : -1]
        best = (hidden_states @ model.embed_tokens.weight.T).argmax(-1)
        right += best.tolist() == result
    return right / len(pairs)


def make_optimizer(model: Llama, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW, without weight decay for norm weights."""
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.peak_lr, betas=(0.9, 0.98), fused=True)


def train_step(
    model: Llama, optimizer: torch.optim.Optimizer, batch: tuple[torch.Tensor, torch.Tensor], lr: float
) -> float:
    """One step of the optimizer; returns the loss."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.weighted_loss(*batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train(
    schedule: Schedule, tokenizer: Tokenizer, state_path: Path, resume: Path | None
) -> tuple[Llama, LlamaSizes, dict]:
    """Train from the start or from a saved state; returns the model, its sizes and the history of the run."""
    torch.manual_seed(schedule.seed)
    sizes = LlamaSizes(vocab_size=schedule.vocab_size)
    model = Llama(sizes)
    optimizer = make_optimizer(model, schedule)
    history: dict = {"losses": [], "sums": [], "seconds": 0.0}
    if resume:
        state = torch.load(resume, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
    started = time.time() - history["seconds"]
    for step in range(len(history["losses"]), schedule.steps):
        batch = make_batch(schedule, tokenizer, step)
        history["losses"].append(train_step(model, optimizer, batch, learning_rate(schedule, step)))
        history["seconds"] = time.time() - started
        if (step + 1) % EVALUATE_EVERY == 0:
            history["sums"].append((step + 1, sum_accuracy(model, tokenizer)))
            recent = sum(history["losses"][-100:]) / 100
            print(
                f"step {step + 1}: loss {recent:.4f}, held-out sums {history['sums'][-1][1]:.1%}, "
                f"{history['seconds']:.0f} s",
                flush=True,
            )
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == schedule.steps:
            state_path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {
                    "schedule": asdict(schedule),
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history,
                },
                state_path,
            )
    return model, sizes, history


def write_checkpoint(model: Llama, sizes: LlamaSizes, tokenizer: Tokenizer, folder: Path) -> None:
    """Weights in bfloat16, configuration and tokenizer, in the layout of a Transformers checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"model.{name}": weight.detach().to(torch.bfloat16) for name, weight in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it readable by its owner only
    tokenizer.save(str(folder / "tokenizer.json"))
    end_of_text, end = tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(END)
    files = {
        "config.json": asdict(sizes)
        | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "rope_scaling": None,
            "dtype": "bfloat16",
            "bos_token_id": end_of_text,
            "eos_token_id": [end, end_of_text],
            "pad_token_id": end_of_text,
            "initializer_range": 0.05,
            "use_cache": True,
        },
        "generation_config.json": {
            "bos_token_id": end_of_text,
            "eos_token_id": [end, end_of_text],
            "pad_token_id": end_of_text,
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.95,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": END_OF_TEXT,
            "bos_token": None,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": sizes.max_position_embeddings,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def write_held_out(path: Path) -> None:
    """The pairs that no training text adds, for the tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held_out_pairs(), separators=(",", ":")).replace("],[", "],\n[") + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "weft" / "embedded", help="folder of the checkpoint and its card"
    )
    parser.add_argument(
        "--state", type=Path, default=Path("run") / "state.pt", help="file the state is saved to now and then"
    )
    parser.add_argument("--resume", type=Path, help="a saved state to go on from")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    schedule = Schedule()
    tokenizer = train_tokenizer(schedule)
    model, sizes, history = train(schedule, tokenizer, options.state, options.resume)
    write_checkpoint(model, sizes, tokenizer, options.out)
    write_held_out(ROOT / "tests" / "embedded" / "held_out_sums.json")
    write_card(options.out, asdict(schedule), history, held_out_pairs())


if __name__ == "__main__":
    main()
