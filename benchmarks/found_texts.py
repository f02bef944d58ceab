"""Texts that a machine has: paragraphs of licenses, and translated messages in many languages (gettext's catalogs)."""

from __future__ import annotations

import gettext
import random
import re
import sys
from collections import defaultdict
from pathlib import Path

LICENSES = ((Path("/usr/share/common-licenses"), "*"), (Path(sys.prefix), "LICENSE*"))
CATALOGS = Path("/usr/share/locale")
CATALOGS_READ = 2            # of each language, the largest ones
SHORTEST = 20                # characters of a text
SHARE_OF_PARAGRAPHS = 0.4    # which are longer than messages


def found_texts(num_texts: int, seed: int) -> list[str]:
    """As many different texts: some are paragraphs, the others messages of one language after another.

    SystemExit where the machine has too few.
    """
    draw = random.Random(seed)
    paragraphs, languages = sorted(_paragraphs()), _messages()
    draw.shuffle(paragraphs)
    for messages in languages.values():
        draw.shuffle(messages)
    texts = dict.fromkeys(paragraphs[: int(SHARE_OF_PARAGRAPHS * num_texts)])
    while len(texts) < num_texts and languages:
        for language in sorted(languages):
            texts[languages[language].pop()] = None
            if not languages[language]:
                del languages[language]
    if len(texts) < num_texts:
        raise SystemExit(f"{CATALOGS} and the licenses have {len(texts)} texts only: take --corpus made.")
    found = list(texts)[:num_texts]
    draw.shuffle(found)
    return found


def _paragraphs() -> set[str]:
    files = [file for place, pattern in LICENSES for file in place.rglob(pattern) if file.is_file()]
    parts = (part for file in files for part in re.split(r"\n\s*\n", file.read_text("utf-8", "replace")))
    return {text for part in parts if len(text := " ".join(part.split())) >= SHORTEST}


def _messages() -> dict[str, list[str]]:
    """{language: its messages}, of one line each and without marks for menus."""
    found: dict[str, set[str]] = defaultdict(set)
    folders = sorted(CATALOGS.glob("*/LC_MESSAGES"))
    files = [file for folder in folders
             for file in sorted(folder.glob("*.mo"), key=lambda file: -file.stat().st_size)[:CATALOGS_READ]]
    for file in files:
        with file.open("rb") as opened:
            try:
                catalog = vars(gettext.GNUTranslations(opened))["_catalog"]
            except (OSError, ValueError, IndexError):      # not a catalog, or one with a broken head
                continue
        for text in catalog.values():
            if isinstance(text, str) and len(line := " ".join(text.replace("_", "").split())) >= SHORTEST:
                found[file.parts[-3]].add(line)
    return {language: sorted(texts) for language, texts in found.items()}
