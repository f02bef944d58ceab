"""Generates the training text of the embedded model: sums, stories, small talk and requests that it must decline.

A document is a list of segments (text, weight). The weight scales the loss of the segment's tokens; it is 0 for the
user's words, which are read but not learned. Nothing is downloaded; a seeded `random.Random` draws all text.
"""

import hashlib
import random

from embedded_phrases import (
    DECLINE,
    MORE,
    NO_SUM,
    NO_SUM_ANSWERS,
    NO_WORDS_ANSWER,
    NUMBER_WORDS,
    STORY_CALLS,
    STORY_NOUNS,
    STORY_VERBS,
    SUM_REQUESTS,
    SYSTEMS,
    TALK,
    UNKNOWN,
    WHAT,
    WORDS,
)
from embedded_stories import (
    ANIMALS,
    BOYS,
    COLORS,
    GIRLS,
    HOBBIES,
    OBJECTS,
    PEOPLE,
    PLACES,
    SIZES,
    THINGS,
    TOPICS,
    TRAITS,
    Hero,
    article,
    capital,
    draw_name,
    invented_word,
    make_friend,
    make_hero,
    make_person,
    make_story,
)

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
Document = list[tuple[str, float]]
Turn = tuple[str, str]



def is_held_out(a: int, b: int) -> bool:
    """Whether a + b (and b + a) is kept out of the training text: one pair in ten, chosen by a hash."""
    return hashlib.sha256(f"{min(a, b)}+{max(a, b)}".encode()).digest()[0] < 26


def held_out_pairs() -> list[tuple[int, int]]:
    """All pairs of 0..99 the model never sees added."""
    return [(a, b) for a in range(100) for b in range(100) if is_held_out(a, b)]


def scuff(rng: random.Random, text: str) -> str:
    """The text as people type it: sometimes without capitals, or with missing or other punctuation."""
    if rng.random() < 0.3:
        text = text.lower()
    elif rng.random() < 0.05:
        text = text.upper()
    if rng.random() < 0.25:
        text = text.rstrip(".?!")
    elif rng.random() < 0.08:
        text += rng.choice(("!", ".", "?", "...", " ", "!!", " :)", "\n"))
    return text


def sum_turn(rng: random.Random) -> Turn:
    """A request to add two numbers and its answer; a held-out pair is never drawn."""
    while True:
        top = rng.choice((10, 100, 100, 100, 100, 100))
        a, b = rng.randrange(100), rng.randrange(top)
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        if not is_held_out(a, b):
            return scuff(rng, rng.choice(SUM_REQUESTS).format(a=a, b=b)), f"{a} + {b} = {a + b}."


def no_sum_turn(rng: random.Random) -> Turn:
    """Arithmetic beyond the model, declined."""
    numbers = {"a": rng.randrange(100), "b": rng.randrange(100), "c": rng.randint(100, 9999),
    "d": rng.randint(100, 9999)}
    if rng.random() < 0.2:
        a, b = (str(rng.randrange(100)) if rng.random() < 0.15 else rng.choice(NUMBER_WORDS), rng.choice(NUMBER_WORDS))
        a, b = rng.choice(((a, b), (b, a)))
        return scuff(rng, rng.choice(SUM_REQUESTS).format(a=a, b=b)), NO_WORDS_ANSWER
    return scuff(rng, rng.choice(NO_SUM).format_map(numbers)), rng.choice(NO_SUM_ANSWERS)


def story_subject(rng: random.Random) -> tuple[str, Hero, dict]:
    """(the story's subject in words, its hero, further arguments for `make_story`)."""
    invented = 0.12 if rng.random() < 0.5 else 0.0
    hero, draw = make_hero(rng, invented=invented), rng.random()
    if draw < 0.3:
        return hero.intro, hero, {}
    if draw < 0.42:
        plain = make_hero(rng, plain=True, invented=invented)
        return rng.choice((plain.again, plain.intro, plain.intro.split(" ", 1)[1])), plain, {}
    if draw < 0.57:
        person = make_person(rng, 0.4)
        return person.again, Hero(intro=person.intro, again=person.again, female=person.again in GIRLS or (
            person.again not in BOYS and person.again[-1] in "ai")), {}
    if draw < 0.7:
        friend = make_friend(rng, hero)
        return f"{hero.intro} and {friend.intro}", hero, {"friend": friend}
    if draw < 0.8:
        at, where = place = rng.choice(PLACES)
        return f"{hero.intro} {rng.choice(('', 'who lives '))}{at} {where}", hero, {"place": place}
    if draw < 0.84:
        topic, plot = rng.choice(TOPICS)
        return topic, hero, {"plot": plot}
    if draw < 0.89:
        place = rng.choice(PLACES)
        return rng.choice((place[1], place[1].removeprefix("the "))), hero, {"place": place}
    thing = f"{rng.choice(COLORS)} {rng.choice(OBJECTS)}" if rng.random() < 0.7 else rng.choice(OBJECTS)
    if draw < 0.94:
        return article(thing), hero, {"thing": thing}
    return f"{hero.intro} and {article(thing)}", hero, {"thing": thing}


def story_turn(rng: random.Random) -> tuple[str, str, Hero]:
    """A request for a story, the story and its hero."""
    noun, extra = rng.choice(STORY_NOUNS), {}
    if rng.random() < 0.06:
        hero = make_hero(rng)
        return scuff(rng, rng.choice(STORY_CALLS)), make_story(rng, hero), hero
    if rng.random() < 0.25:
        hero = make_hero(rng)
    else:
        subject, hero, extra = story_subject(rng)
        noun = f"{noun} {rng.choice(('about', 'about', 'about', 'about', 'with', 'of'))} {subject}"
        if rng.random() < 0.06:
            noun = f"{rng.choice(STORY_NOUNS)} with {subject} in it"
        elif rng.random() < 0.08:
            bare = f"{subject} story".removeprefix("a ").removeprefix("an ").removeprefix("the ")
            noun = article(bare) if len(subject.split()) < 3 else noun
    ask = rng.choice(STORY_VERBS).format(s=noun, S=capital(noun))
    return scuff(rng, ask if ask[-1] == "?" else ask + rng.choice((".", ".", "!",
    ""))), make_story(rng, hero, **extra), hero


def _word(rng: random.Random) -> str:
    pool = rng.choice((WORDS, WORDS, WORDS, ANIMALS, THINGS, OBJECTS, PEOPLE, TRAITS, SIZES, HOBBIES, None))
    return invented_word(rng) if pool is None else rng.choice(pool)


def _noise(rng: random.Random) -> str:
    """Random characters from all of Unicode, so that every byte occurs in training."""
    kinds = ((33, 126), (33, 126), (97, 122), (160, 591), (880, 1279), (0x4E00, 0x9FA5), (0x1F300, 0x1F64F),
             (0x3040, 0x30FF), (1, 0xD7FF))
    low, high = rng.choice(kinds)
    return "".join(chr(rng.randint(low, high)) + rng.choice(("", "", "", " ")) for _ in range(rng.randint(1, 14)))


def unknown_turn(rng: random.Random) -> Turn:
    """Any other request, and a polite answer that says what the model can do."""
    ask = rng.choice(UNKNOWN).replace("{{", "{").replace("}}", "}")
    while "{w}" in ask:
        ask = ask.replace("{w}", _word(rng), 1)
    ask = ask.replace("{W}", capital(_word(rng))).replace("{n}", str(rng.randrange(3000))).replace("{x}", _noise(rng))
    ask = ask.replace("{t}", " ".join(_word(rng) for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 25, 60)))))
    return scuff(rng, ask), rng.choice(DECLINE)


def talk_turn(rng: random.Random) -> Turn:
    """Small talk."""
    asks, answers = rng.choice(TALK)
    return scuff(rng, rng.choice(asks)), rng.choice(answers)


def name_turns(rng: random.Random) -> list[Turn]:
    """The user says a name; asked later, the model still knows it."""
    name = draw_name(rng, 0.3)[0]
    hello = rng.choice(("My name is {n}.", "I am {n}.", "Hi, I'm {n}.", "Hello, my name is {n}",
    "You can call me {n}.")).format(n=name)
    welcome = rng.choice((f"Nice to meet you, {name}! Would you like a story or a sum?", f"Hello, {name}! {WHAT}"))
    first = (hello, welcome)
    ask = scuff(rng, rng.choice(("What is my name?", "Do you know my name?", "Who am I?", "Do you remember my name?")))
    return [first, *any_turns(rng, rng.randint(0, 2)), (ask, f"Your name is {name}.")]


def any_turns(rng: random.Random, count: int) -> list[Turn]:
    """Some turns of all kinds; after a story sometimes a question about it, or a request for more."""
    turns: list[Turn] = []
    while len(turns) < count:
        draw = rng.random()
        if draw < 0.45:
            turns.append(sum_turn(rng))
        elif draw < 0.62:
            ask, story, hero = story_turn(rng)
            turns.append((ask, story))
            if rng.random() < 0.3:
                asks = ("Who was the story about?", "What was the story about?", "Who was in the story?",
                        "who is the hero of the story?")
                turns.append((scuff(rng, rng.choice(asks)), f"The story was about {hero.intro}."))
            elif rng.random() < 0.4:
                turns.append((scuff(rng, rng.choice(MORE)), make_story(rng, make_hero(rng))))
        else:
            turns.append((talk_turn, talk_turn, unknown_turn, no_sum_turn)[rng.randrange(4)](rng))
    return turns


def _system(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(SYSTEMS)
    return capital(" ".join(_word(rng) for _ in range(rng.choice((3, 6, 12, 30))))) + "."


def chat_document(rng: random.Random, turns: list[Turn]) -> Document:
    """The turns in the chat template, a system message before one in five."""
    document: Document = []
    if rng.random() < 0.2:
        document.append((f"{START}system\n{_system(rng)}{END}\n", 0.0))
    for ask, answer in turns:
        document.append((f"{START}user\n{ask}{END}\n{START}assistant\n", 0.0))
        if " = " in answer and answer[0].isdigit():
            head, result = answer.split(" = ")
            document += [(head + " =", 1.0), (f" {result}{END}", 3.0), ("\n", 0.0)]
        else:
            document += [(answer + END, 1.0), ("\n", 0.0)]
    return [*document, (END_OF_TEXT, 0.0)]


def plain_document(rng: random.Random) -> Document:
    """A story, the rest of one, a story after other words, or a sum, as plain text."""
    if rng.random() < 0.2:
        return [(sum_turn(rng)[1], 1.0), (END_OF_TEXT, 1.0)]
    if rng.random() < 0.15:
        words = capital(" ".join(_word(rng) for _ in range(rng.choice((1, 2, 4, 8, 20)))))
        return [(words, 0.0), (rng.choice((" ", ". ", "\n")) + make_story(rng, make_hero(rng)), 1.0),
        (END_OF_TEXT, 1.0)]
    sentences = make_story(rng, make_hero(rng)).split(". ")
    start = rng.choice((0, 0, 0, 0, 1, 2))
    return [(". ".join(sentences[start:]), 1.0), (END_OF_TEXT, 1.0)]


def make_document(rng: random.Random, sum_share: float, num_turns: int = 0) -> Document:
    """One document: a sum with probability `sum_share`, else the other kinds; `num_turns` asks for a chat that long."""
    if num_turns:
        first = name_turns(rng)[:1] if rng.random() < 0.2 else []
        return chat_document(rng, first + any_turns(rng, num_turns))
    if rng.random() < sum_share:
        return chat_document(rng, [sum_turn(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))])
    draw = rng.random()
    if draw < 0.42:
        return chat_document(rng, [story_turn(rng)[:2]])
    if draw < 0.50:
        return plain_document(rng)
    if draw < 0.62:
        return chat_document(rng, [talk_turn(rng)])
    if draw < 0.76:
        return chat_document(rng, [unknown_turn(rng)])
    if draw < 0.82:
        return chat_document(rng, [no_sum_turn(rng)])
    if draw < 0.85:
        return chat_document(rng, name_turns(rng))
    return chat_document(rng, any_turns(rng, rng.randint(2, 5)))
