"""Trains the byte-level BPE tokenizer on the training text and writes tokenizer.json.

    python tokenizer.py --work DIR [--vocab-size 2048]

The file has the layout of Llama 3 tokenizers. The pieces that BPE learns from are cut one step
finer than the pieces that it later encodes: every digit stands alone, so that no merge ever joins
digits, and numbers are read digit by digit.
"""

import argparse
import itertools
import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

import chat

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts(path: Path, limit: int):
    with open(path, encoding="utf-8") as lines:
        for line in itertools.islice(lines, limit):
            for message in json.loads(line):
                yield message["content"]


def train(path: Path, vocab_size: int, limit: int = 60_000) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=False))
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated", invert=False)
    byte_level = pre_tokenizers.ByteLevel(
        add_prefix_space=False, trim_offsets=True, use_regex=False
    )
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, digits, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(chat.SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts(path, limit), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    special = [AddedToken(token, special=True, normalized=False) for token in chat.SPECIAL_TOKENS]
    tokenizer.add_special_tokens(special)
    bos = (chat.BOS, tokenizer.token_to_id(chat.BOS))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True),
            processors.TemplateProcessing(
                single=f"{chat.BOS} $A",
                pair=f"{chat.BOS} $A {chat.BOS}:1 $B:1",
                special_tokens=[bos],
            ),
        ]
    )
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--vocab-size", type=int, default=2048)
    args = parser.parse_args()
    tokenizer = train(args.work / "short.jsonl", args.vocab_size)
    assert tokenizer.get_vocab_size() == args.vocab_size, tokenizer.get_vocab_size()
    tokenizer.save(str(args.work / "tokenizer.json"))
    sample = "What is 47 + 25? Ünïcode ✓ <|end|>"
    encoded = tokenizer.encode(sample)
    print(encoded.tokens)
    assert tokenizer.decode(encoded.ids[1:], skip_special_tokens=False) == sample


if __name__ == "__main__":
    main()
