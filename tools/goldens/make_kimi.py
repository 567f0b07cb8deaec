#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/kimi: a small rank file, and what tiktoken (0.14.0) makes of texts with Kimi's pattern.

The ranks are 256 bytes and merges learnt here from a few lines; the config names special tokens as a release does. The
reference's own wrapper cuts runs of more than 25,000 characters, which no case reaches.
Usage: make_kimi.py OUT_DIR, with tiktoken and regex installed.
"""
import base64
import collections
import json
import random
import sys

import regex
import tiktoken

PATTERN = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
LINES = [
    "The ship's crew rowed past 1234 islands; they'll be back before we've eaten, I'm told. DON'T wait.",
    "\u5c0f\u8239\u5728\u6cb3\u4e0a\u6162\u6162\u5730\u8d70\uff0c\u8239\u5de5\u5531\u7740\u6b4c\u3002\u4eba\u4eec\u5728\u5cb8\u4e0a\u542c\uff0c\u4eba\u4eec\u7b11\u4e86\u3002",
    "\u6d77\u306e\u4e0a\u3067\u3001\u4eba\u3005\u306f\u9b5a\u3092\u3068\u308b\u3002\u30b3\u30fc\u30d2\u30fc\u3092\u98f2\u3080\u3002 camelCaseNames and HTTPServer2 in /usr/lib//x",
    "def row(n):\n    return [i * 2 for i in range(n)]  # rows\n\n\tif x != y:\r\n        pass\n",
    "\u00e9t\u00e9 na\u00efve \u0441\u043b\u043e\u0432\u043e \u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645 \u0928\u092e\u0938\u094d\u0924\u0947 \u1e9e\u01c5 \u2167 \U0001f6f6\U0001f3fd"]
NAMED = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 6: "<|start_header_id|>",
         7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>", 11: "<|tool_calls_section_begin|>",
         12: "<|tool_calls_section_end|>", 13: "<|tool_call_begin|>", 14: "<|tool_call_argument_begin|>",
         15: "<|tool_call_end|>", 17: "<|im_middle|>", 254: "[UNK]", 255: "[PAD]"}
PLAIN = range(11, 16)  # the tool tokens are not special there


def pieces(text):
    return [p.group().encode() for p in regex.finditer(PATTERN, text, flags=regex.V1)]


def learn(n_merges):
    words = [[bytes([b]) for b in p] for line in LINES for p in pieces(line)]
    ranks = {bytes([b]): b for b in range(256)}
    while len(ranks) < 256 + n_merges:
        pairs = collections.Counter(pair for word in words for pair in zip(word, word[1:]))
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        ranks[left + right] = len(ranks)
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == (left, right):
                    word[i:i + 2] = [left + right]
                i += 1
    return ranks


def texts(first):
    rng = random.Random(7)
    chars = list("  '\n\rsStmdlrev.,!/_1230Aa") + [chr(c) for c in (
        0xE9, 0x301, 0x3001, 0x3005, 0x3007, 0x30FC, 0x3042, 0x4E2D, 0x6587, 0x9FFF, 0x2E80, 0xF900, 0x20000, 0x2EBF0, 0x16FF0,
        0x1C5, 0x2B0, 0x3000, 0xA0, 0x1F600, 0x200D, 0x661, 0x2167, 0x17F)]
    out = ["", " "] + LINES + ["a" * 300, "\u4eba" * 200, "1" * 50, " " * 40 + "x"]
    out += ["".join(rng.choice(chars) for _ in range(rng.randint(1, 30))) for _ in range(300)]
    out += ["<|im_user|>user<|im_middle|>Hi<|im_end|>", "[BOS][BOS ][EOT]x", "<|im_end|", f"a<|reserved_token_{first + 5}|>b",
            f"<|reserved_token_{first + 300}|>", "<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_end|>",
            "\u4eba<|im_end|>\u4eba", " <|im_end|> "]
    return out


def main(out):
    ranks = learn(250)
    first = len(ranks)
    with open(f"{out}/tiktoken.model", "wb") as file:
        for piece, rank in ranks.items():
            file.write(base64.b64encode(piece) + b" %d\n" % rank)
    listed = {str(first + i): {"content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                               "special": i not in PLAIN} for i, name in NAMED.items()}
    config = {"added_tokens_decoder": listed, "additional_special_tokens": [n for i, n in NAMED.items() if 2 <= i < 250 and i not in PLAIN],
              "bos_token": "[BOS]", "clean_up_tokenization_spaces": False, "eos_token": "[EOS]", "unk_token": "[UNK]",
              "pad_token": "[PAD]", "tokenizer_class": "TikTokenTokenizer",
              "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]}}
    with open(f"{out}/tokenizer_config.json", "w") as file:
        json.dump(config, file, indent=1)
    special = {NAMED.get(i, f"<|reserved_token_{first + i}|>"): first + i for i in range(256)}
    reference = tiktoken.Encoding(name="kimi", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    hidden = {first + i for i in NAMED if i not in PLAIN}
    with open(f"{out}/cases.jsonl", "w") as file:
        for text in texts(first):
            ids = reference.encode(text, allowed_special="all")
            file.write(json.dumps({"text": text, "add_special_tokens": True, "ids": ids, "decoded": reference.decode(ids),
                                   "decoded_skip": reference.decode([i for i in ids if i not in hidden])}) + "\n")


main(sys.argv[1])
