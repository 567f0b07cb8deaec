"""The held-out list: loading it, and keeping it out of the training data."""

import json
import re
from pathlib import Path

PATH = Path(__file__).with_name("heldout.jsonl")
# Of all distinct words of two prompts, the share that both have, from which they count as the same.
NEAR = 0.7


def load() -> list[dict]:
    return [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines() if line]


def words(prompt: str) -> list[str]:
    return re.findall(r"[a-z0-9+*/=-]+", prompt.lower())


class Exclusion:
    """Says whether a training prompt is too close to a held-out one.

    A held-out prompt about arguments (a sum, a word to repeat) excludes by its key: the same
    arguments in any phrasing. Every other one excludes prompts whose words nearly equal its own.
    """

    def __init__(self, items: list[dict]):
        self.keys = {key for item in items for key in item.get("holds", [])}
        said = [words(item["messages"][-1]["content"]) for item in items]
        self.exact = {tuple(prompt) for prompt in said}
        self.sets = [set(prompt) for prompt, item in zip(said, items) if not item.get("holds")]

    def hits(self, prompt: str, key: str = "") -> bool:
        said = words(prompt)
        if key in self.keys or tuple(said) in self.exact:
            return True
        mine = set(said)
        return any(len(mine & other) >= NEAR * len(mine | other) for other in self.sets)
