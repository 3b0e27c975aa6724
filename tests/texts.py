"""A small corpus that several folders of tests share."""

import json
import random
from pathlib import Path

WORDS = [
    "gradient",
    "norm",
    "head",
    "the",
    "of",
    "attention",
    "layer",
    "grows",
    "while",
    "another",
    "shrinks",
    "slowly",
]


def write_rows(file: Path, n: int = 60) -> str:
    """Write ``n`` different documents of some 300 characters as JSON lines; returns the source that names them."""
    chance = random.Random(0)
    texts = [f"Text {i}. {' '.join(chance.choices(WORDS, k=50))}." for i in range(n)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return f"path:{file}"
