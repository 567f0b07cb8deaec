#!/usr/bin/env python3
"""Makes tests/golden/rope/dynamic_ntk.json: the golden llama_f32 with a dynamic NTK base, across its original context.

Greedy tokens and some of their logits by transformers (5.5.4, torch 2.15.0, float32) with its key-value cache, one fresh
model for each prompt: the base that a module has reached stays for what it is given next.
Usage: make_dynamic_rope.py OUT.json, from the repository's root.
"""
import json
import random
import sys

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

MODEL = "tests/golden/models/llama_f32"
CONTEXT, FACTOR, STEPS = 16, 3.0, 16
COLUMNS = [0, 7, 50, 99, 128, 200, 301, 383]


def fresh():
    with open(f"{MODEL}/config.json") as file:
        raw = json.load(file)
    raw.update(max_position_embeddings=CONTEXT, rope_scaling={"type": "dynamic", "factor": FACTOR})
    model = LlamaForCausalLM(LlamaConfig(**raw)).to(torch.float32).eval()
    model.load_state_dict(load_file(f"{MODEL}/model.safetensors"))
    return model


@torch.no_grad()
def run(ids):
    model, cache, feed = fresh(), None, torch.tensor([ids])
    tokens, logits = [], []
    for _ in range(STEPS):
        out = model(feed, past_key_values=cache, use_cache=True)
        cache, row = out.past_key_values, out.logits[0, -1]
        tokens.append(int(row.argmax()))
        logits.append([float(row[c]) for c in COLUMNS])
        feed = torch.tensor([[tokens[-1]]])
    return {"ids": ids, "greedy": tokens, "logits": logits}


def main(out):
    torch.set_num_threads(1)
    rng = random.Random(3)
    prompts = [[rng.randrange(3, 384) for _ in range(n)] for n in (5, 15, 16, 17, 31)]
    with open(out, "w") as file:
        json.dump({"max_position_embeddings": CONTEXT, "factor": FACTOR, "columns": COLUMNS,
                   "prompts": [run(ids) for ids in prompts]}, file)
        file.write("\n")


main(sys.argv[1])
