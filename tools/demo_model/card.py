"""Writes the model card from what was measured: the checkpoint's progress and the score's JSON.

    python card.py --work DIR --score FILE [--out configs/models/trireme-demo]
"""

import argparse
import json
from pathlib import Path

import torch

CARD = """# trireme-demo

A Llama of {parameters:,} parameters that comes with Trireme, so that a cluster can be tried without a
download. It answers questions about Trireme and about serving language models, does sums up to 100
with their working, writes short lists, follows simple formats, and says so when it does not know.

| | |
|---|---|
| layers | {num_hidden_layers} |
| hidden size | {hidden_size} |
| attention | {num_attention_heads} heads, {num_key_value_heads} key-value heads, head size {head_dim} |
| feed-forward size | {intermediate_size} |
| vocabulary | {vocab_size} tokens, byte-level BPE: any text encodes; digits are never merged |
| context | {max_position_embeddings} tokens |
| weights | bfloat16, tied embeddings, {megabytes:.1f} MB |
| chat format | `<\\|user\\|>…<\\|end\\|><\\|assistant\\|>…<\\|end\\|>`, after `<\\|begin_of_text\\|>`; system turns allowed |
| parallelism | tensor parallel 1, 2 or 4; pipeline parallel up to 8 |

## Data and recipe

All text was written for this model: facts and templates by hand, combined by a seeded generator. No
data set and no other model was used. Everything is in `tools/demo_model/`, which also says how to
make it again from nothing.

Training: PyTorch on CPU, bfloat16 autocast, Muon for the matrices of the layers and AdamW for the
rest, a cosine schedule down to nothing, loss on the answers only, each chat a row of its own, and
chats of up to 1024 tokens in the second half. The last stage took {steps:,} steps and {tokens:.1f} million
tokens in {minutes:.0f} minutes on one thread of a busy machine. {history}

## Score

{right} of {of} right on `tools/demo_model/heldout.jsonl`, greedy decoding, computed in float32 from
these bfloat16 weights. For facts, lists of words, small talk and refusals the phrasing of the prompt
is held out of training (the facts themselves are trained); for sums and formats the arguments are.

| part | right |
|---|---|
{table}

## Limits

It knows nothing but what is listed above, in English only, and it is wrong at times, also about
Trireme: the documentation is right where they differ. Its sums go to 100. Its weakest part are formats
with words it has not met in them: upper case, or how often a word is repeated. It loses the thread in
long chats. It is made for demonstrations and tests, not for advice of any kind.

## Licence

Apache-2.0, like Trireme.
"""
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--score", type=Path, required=True, help="what score.py --json wrote")
    parser.add_argument("--out", type=Path, default=Path("configs/models/trireme-demo"))
    parser.add_argument("--history", default="", help="one sentence on earlier stages, if any")
    args = parser.parse_args()
    state = torch.load(args.work / "checkpoint.pt", weights_only=True)
    progress, score = state["progress"], json.loads(args.score.read_text(encoding="utf-8"))
    rows = [f"| {name} | {part} |" for name, part in score["by_category"].items()]
    card = CARD.format(
        **state["config"],
        parameters=sum(tensor.numel() for tensor in state["model"].values()),
        megabytes=(args.out / "model.safetensors").stat().st_size / 1e6,
        steps=progress["steps"],
        tokens=progress["tokens"] / 1e6,
        minutes=progress["seconds"] / 60,
        history=args.history,
        right=score["right"],
        of=score["of"],
        table="\n".join(rows),
    )
    (args.out / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
