"""Writes the embedded model's card: measures its checkpoint with Transformers, and describes it in README.md.

    python tools/embedded_card.py run/state.pt          # measure and describe again, without training

The checkpoint is read from its folder, as by a user; of the training only the schedule and the history are used.
"""

import argparse
import json
import random
from pathlib import Path

import matplotlib
import torch
from embedded_stories import ANIMALS, BOYS, GIRLS, OBJECTS
from transformers import AutoModelForCausalLM, AutoTokenizer

PHRASINGS = (
    "What is {a} + {b}?",
    "{a}+{b}",
    "{a} plus {b}",
    "add {a} and {b}",
    "how much is {a} + {b}",
    "Compute {a} + {b} =",
)
GREEDY_DIALOGUES = (
    [("user", "hello, who are you?")],
    [("user", "What is 27 + 58?")],
    [("user", "Tell me a story.")],
    [("user", "can you tell me a story about a girl named Mia?")],
    [("system", "You are a helpful assistant."), ("user", "write a short story about a fox and an owl")],
    [("user", "What is the capital of France?")],
)
SAMPLED_DIALOGUES = (
    [("user", "Tell me a story.")],
    [("user", "Tell me a story.")],
    [("user", "a story about a magic lantern please")],
    [
        ("user", "My name is Ida."),
        ("assistant", "Nice to meet you, Ida! Would you like a story or a sum?"),
        ("user", "What is my name?"),
    ],
)
NAMED_ANIMALS = [animal for animal in ANIMALS if animal[0] not in "aeiou"]
SUBJECTS = {
    "Tell me a story about a girl named {}.": (GIRLS,),
    "tell me a story about a boy named {}": (BOYS,),
    "Write a story about {}.": (GIRLS + BOYS,),
    "Write a short story about a {}": (NAMED_ANIMALS,),
    "Can you tell me a story about a {} and a {}?": (NAMED_ANIMALS, NAMED_ANIMALS),
    "Tell me a story about a {} and a red {}.": (NAMED_ANIMALS, OBJECTS),
}
COMPLETION = "Once upon a time"


class Checkpoint:
    """A written checkpoint, ready to answer a batch of prompts."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def chat(self, dialogues: list[list[tuple[str, str]]], **sampling: object) -> list[str]:
        """The next answer of each dialogue, a list of (role, content)."""
        messages = [[{"role": role, "content": content} for role, content in turns] for turns in dialogues]
        return self.complete(
            [
                self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
                for turns in messages
            ],
            **sampling,
        )

    def complete(self, prompts: list[str], **sampling: object) -> list[str]:
        """What the model writes after each prompt, at most 400 tokens, special tokens left out."""
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
        options = sampling or {"do_sample": False, "temperature": None, "top_p": None}
        with torch.no_grad():
            out = self.model.generate(**batch, max_new_tokens=400, **options)
        return self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def measure_sums(checkpoint: Checkpoint, pairs: list[tuple[int, int]]) -> dict[str, float]:
    """For each phrasing, the share of pairs that greedy decoding answers correctly."""
    accuracy = {}
    for phrasing in PHRASINGS:
        right = 0
        for start in range(0, len(pairs), 256):
            part = pairs[start : start + 256]
            answers = checkpoint.chat([[("user", phrasing.format(a=a, b=b))] for a, b in part])
            right += sum(answer == f"{a} + {b} = {a + b}." for (a, b), answer in zip(part, answers, strict=True))
        accuracy[phrasing] = right / len(pairs)
    return accuracy


def measure_subjects(checkpoint: Checkpoint, count: int = 200) -> dict[str, float]:
    """For each kind of request for a story, the share of greedy stories that contain every subject that was named."""
    rng, shares = random.Random(0), {}
    for ask, kinds in SUBJECTS.items():
        subjects = [[rng.choice(words) for words in kinds] for _ in range(count)]
        stories = checkpoint.chat([[("user", ask.format(*each))] for each in subjects])
        pairs = zip(subjects, stories, strict=True)
        shares[ask] = sum(all(word in story for word in each) for each, story in pairs) / count
    return shares


def draw_history(history: dict, path: Path) -> None:
    """The loss of the run and the held-out sums as a picture."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    losses, window = history["losses"], 25
    smooth = [sum(losses[end - window : end]) / window for end in range(window, len(losses) + 1, window)]
    figure, left = plt.subplots(figsize=(7, 3.6), dpi=90)
    left.plot(range(window, len(losses) + 1, window), smooth, color="tab:blue", linewidth=1)
    left.set(xlabel="step", ylabel="training loss (mean of 25 steps)", yscale="log")
    left.yaxis.label.set_color("tab:blue")
    right = left.twinx()
    right.plot(*zip(*history["sums"], strict=True), color="tab:orange", linewidth=1)
    right.set(ylim=(0, 1.02), ylabel="held-out sums right")
    right.yaxis.label.set_color("tab:orange")
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _dialogue(turns: list[tuple[str, str]], answer: str) -> str:
    return "\n>\n".join(_quote(f"**{role}:** {content}") for role, content in [*turns, ("assistant", answer)])


def write_card(folder: Path, schedule: dict, history: dict, pairs: list[tuple[int, int]]) -> None:
    """Measure the checkpoint in the folder and write README.md and loss.png beside it."""
    checkpoint = Checkpoint(folder)
    accuracy = measure_sums(checkpoint, pairs)
    subjects = measure_subjects(checkpoint)
    draw_history(history, folder / "loss.png")
    greedy = zip(GREEDY_DIALOGUES, checkpoint.chat(list(GREEDY_DIALOGUES)), strict=True)
    torch.manual_seed(0)
    sampling = {"do_sample": True, "temperature": 0.7, "top_p": 0.95}
    sampled = zip(SAMPLED_DIALOGUES, checkpoint.chat(list(SAMPLED_DIALOGUES), **sampling), strict=True)
    (folder / "README.md").write_text(
        CARD.format(
            **schedule,
            sizes=_sizes_table(checkpoint, folder),
            minutes=round(history["seconds"] / 60),
            million_tokens=round(schedule["steps"] * schedule["tokens_per_step"] / 1e6),
            final_loss=sum(history["losses"][-100:]) / 100,
            num_pairs=len(pairs),
            accuracy=_shares_table(accuracy),
            subjects=_shares_table(subjects),
            greedy="\n\n".join(_dialogue(*each) for each in greedy),
            sampled="\n\n".join(_dialogue(*each) for each in sampled),
            completion=_quote(f"**{COMPLETION}**{checkpoint.complete([COMPLETION])[0]}"),
        )
    )


def _shares_table(shares: dict[str, float]) -> str:
    return "\n".join(f"| `{ask}` | {share:.1%} |" for ask, share in shares.items())


def _sizes_table(checkpoint: Checkpoint, folder: Path) -> str:
    config, files = (
        checkpoint.model.config,
        [path for path in folder.iterdir() if path.suffix in (".json", ".safetensors")],
    )
    rows = {
        "parameters": f"{checkpoint.model.num_parameters():,} (embedding and output matrix shared)",
        "layers": f"{config.num_hidden_layers}",
        "hidden size, MLP size": f"{config.hidden_size}, {config.intermediate_size}",
        "heads, KV heads, head size": f"{config.num_attention_heads}, {config.num_key_value_heads}, {config.head_dim}",
        "vocabulary": f"{config.vocab_size} tokens, byte-level BPE, each digit a token of its own",
        "context": f"{config.max_position_embeddings} tokens",
        "weights": "bfloat16",
        "files": f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB",
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


CARD = """# The embedded model

A Llama of under two million parameters that ships inside weft, so that weft has a model to run before anything is
downloaded: for a first try, for examples and for tests. It does two things, and says so when asked for a third:

- it tells short stories in simple English, about the person or animal that the user names;
- it adds two numbers from 0 to 99.

It knows nothing of the world. Do not use it for anything else.

| | |
|---|---|
{sizes}

Chats are in ChatML (`<|im_start|>role`, the text, `<|im_end|>`), with or without a system message; `<|im_end|>` ends an
answer, `<|endoftext|>` a plain text. The model reads a system message and does not obey it.

## Data

All text is drawn from templates and word lists in `tools/embedded_data.py` and the files it names: stories of twelve
plots with a drawn cast, sums in many phrasings, small talk, and requests that are declined. Nothing was downloaded. One
pair in ten of the 10,000 sums ({num_pairs} pairs, chosen by a hash, with a + b always together with b + a) is never
added in the training text.

## Training

```
python tools/train_embedded.py
```

Seed {seed}, {steps} steps of {tokens_per_step} tokens ({million_tokens} million in all), {minutes} minutes on two CPU
cores that other programs used too, in bfloat16 autocast; the loss counts plain texts and the assistant's words, not the
user's. Every default is in `Schedule` there. The learning rate bends where the run was stopped and resumed with fewer
steps to go (at 2000 and 3000); a run without stops follows the same schedule, but is not the same to the last bit.
Final training loss: {final_loss:.3f}, much of it the choice among a story's words, which nobody could guess.

![The training loss falls; the held-out sums rise](loss.png)

## Measured

Sums of the {num_pairs} held-out pairs, greedy decoding, whole answer compared:

| asked as | right |
|---|---|
{accuracy}

Stories, greedy decoding, 200 requests each: all that was named is in the story.

| asked as | right |
|---|---|
{subjects}

## Samples

Greedy, the first answer of each prompt:

{greedy}

At temperature 0.7 and top_p 0.95, seed 0:

{sampled}

Plain text, greedy:

{completion}

## Limits

The one whom a story is about is kept to the end; a second figure or a thing that the user asks for is mostly ignored,
and things change at times between two sentences (carrots become cookies). Stories follow their plots and repeat
themselves before long. A name that no list holds is copied letter by letter and at times misspelt, and a creature that
no list holds may be replaced by a child with a name. Three numbers, larger numbers and other arithmetic are declined,
or now and then answered wrong.
"""


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path, help="the state that the training saved last")
    parser.add_argument("--out", type=Path, default=root / "weft" / "embedded", help="folder of the checkpoint")
    options = parser.parse_args()
    state = torch.load(options.state, weights_only=True)
    pairs = [tuple(pair) for pair in json.loads((root / "tests" / "embedded" / "held_out_sums.json").read_text())]
    write_card(options.out, state["schedule"], state["history"], pairs)


if __name__ == "__main__":
    main()
