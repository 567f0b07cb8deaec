"""Chats to packed rows of token ids, with the positions that the loss counts."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import chat

# Rows that are filled side by side, so that short chats find the gaps that long ones leave.
OPEN_ROWS = 64

Encoded = tuple[list[int], list[bool]]  # token ids, and whether the loss counts each


def encode_chats(path: Path, tokenizer: Tokenizer) -> list[Encoded]:
    encoded = []
    for line in path.read_text(encoding="utf-8").splitlines():
        ids, trained = [], []
        for text, counts in chat.parts(json.loads(line)):
            piece = tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            trained += [counts] * len(piece)
        encoded.append((ids, trained))
    return encoded


def pack(encoded: list[Encoded], length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole chats in rows of length + 1 tokens; one that is longer than a row is cut at its end."""
    done, rows = [], []
    for ids, trained in encoded:
        ids, trained = ids[: length + 1], trained[: length + 1]
        fits = [row for row in rows if len(row[0]) + len(ids) <= length + 1]
        if fits:
            row = max(fits, key=lambda r: len(r[0]))
            row[0].extend(ids)
            row[1].extend(trained)
        else:
            rows.append((list(ids), list(trained)))
        if len(rows) > OPEN_ROWS:
            fullest = max(range(len(rows)), key=lambda i: len(rows[i][0]))
            done.append(rows.pop(fullest))
    done += rows
    tokens = np.full((len(done), length + 1), pad_id, dtype=np.int16)
    counted = np.zeros((len(done), length + 1), dtype=bool)
    for i, (ids, trained) in enumerate(done):
        tokens[i, : len(ids)] = ids
        counted[i, : len(trained)] = trained
    return tokens, counted


def packed_rows(work: Path, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The packed rows of one text file, made once and kept beside it."""
    cache, source, vocabulary = (
        work / f"{name}.npz",
        work / f"{name}.jsonl",
        work / "tokenizer.json",
    )
    newest = max(source.stat().st_mtime, vocabulary.stat().st_mtime)
    if not cache.exists() or cache.stat().st_mtime < newest:
        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokens, counted = pack(
            encode_chats(source, tokenizer), length, tokenizer.token_to_id(chat.PAD)
        )
        np.savez(cache, tokens=tokens, counted=counted)
    with np.load(cache) as rows:
        return rows["tokens"], rows["counted"]
