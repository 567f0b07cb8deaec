"""Chats to batches of token ids, with the positions that the loss counts.

A chat is a row of its own, from position 0 as in use, beside chats of nearly the same length; so
little is padded, and no chat sees another.
"""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import chat

# Lengths are rounded up to a multiple of this; chats of one rounded length share batches.
ROUNDING = 8


def encode_chats(path: Path, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All token ids end to end, whether the loss counts each, and where each chat begins."""
    ids, counted, starts = [], [], [0]
    for line in path.read_text(encoding="utf-8").splitlines():
        for text, counts in chat.parts(json.loads(line)):
            piece = tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            counted += [counts] * len(piece)
        starts.append(len(ids))
    return np.array(ids, np.int16), np.array(counted, bool), np.array(starts, np.int64)


def encoded(work: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The token ids of one text file, made once and kept beside it."""
    cache = work / f"{name}.npz"
    source, vocabulary = work / f"{name}.jsonl", work / "tokenizer.json"
    newest = max(source.stat().st_mtime, vocabulary.stat().st_mtime)
    if not cache.exists() or cache.stat().st_mtime < newest:
        ids, counted, starts = encode_chats(source, Tokenizer.from_file(str(vocabulary)))
        np.savez(cache, ids=ids, counted=counted, starts=starts)
    with np.load(cache) as held:
        return held["ids"], held["counted"], held["starts"]


class Batches:
    """Batches of one text file, in an order that depends only on the seed and the pass."""

    def __init__(self, work: Path, name: str, longest: int, tokens: int, seed: int):
        self.ids, self.counted, starts = encoded(work, name)
        self.starts, self.lengths = starts[:-1], np.minimum(np.diff(starts), longest + 1)
        self.tokens, self.seed = tokens, seed
        self.turn, self.batches = -1, []
        self._begin(0)

    def _begin(self, turn: int) -> None:
        """Shuffles, puts chats of one rounded length together, and shuffles the batches."""
        rng = np.random.default_rng([self.seed, turn])
        shuffled = rng.permutation(len(self.lengths))
        rounded = -(-(self.lengths - 1) // ROUNDING) * ROUNDING
        made = []
        for length in np.unique(rounded):
            same = shuffled[rounded[shuffled] == length]
            size = max(1, self.tokens // int(length))
            made += [same[at : at + size] for at in range(0, len(same), size)]
        self.turn, self.batches = turn, [made[i] for i in rng.permutation(len(made))]

    def __call__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        turn, at = divmod(index, len(self.batches))
        if turn != self.turn:
            self._begin(turn)
        chosen = self.batches[at]
        length = int(-(-(self.lengths[chosen].max() - 1) // ROUNDING) * ROUNDING)
        ids = np.zeros((len(chosen), length + 1), np.int64)
        targets = np.full((len(chosen), length + 1), -1, np.int64)
        for row, i in enumerate(chosen):
            part = slice(self.starts[i], self.starts[i] + self.lengths[i])
            ids[row, : self.lengths[i]] = self.ids[part]
            targets[row, : self.lengths[i]] = np.where(self.counted[part], self.ids[part], -1)
        return torch.from_numpy(ids[:, :-1].copy()), torch.from_numpy(targets[:, 1:].copy())
