"""Trains the demo model on CPU; run again, it goes on from the last checkpoint.

    python train.py --work DIR [--steps 4000] [--minutes 50] [--threads 2] [--from CHECKPOINT]

The schedule (warm-up, then a decay to nothing) follows the steps or the time spent, whichever is
further on, so that a busy machine ends in time with a model that is annealed. A checkpoint holds
weights, optimizers, steps and the time spent. --from begins at step 0 with another run's weights.
"""

import argparse
import json
import math
import os
import signal
import time
from pathlib import Path

import torch

from data import Batches
from model import Llama, ModelConfig
from muon import Muon

SHORT_LENGTH, LONG_LENGTH = 256, 1024
WARM_UP = 0.03  # share of the schedule
LONG_FROM, LONG_EVERY = 0.5, 16  # from this share on, each 16th batch is of long chats
# A step that seems to take longer was suspended, and the rest does not count as training.
PAUSE_SECONDS = 20.0


def learning_rate(share: float, peak: float) -> float:
    if share < WARM_UP:
        return peak * (share + 1e-3) / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def schedule_share(progress: dict, steps: int, minutes: float) -> float:
    """How much of the schedule is done, from 0 to 1."""
    return max(progress["steps"] / steps, progress["seconds"] / (minutes * 60))


def make_optimizers(model: Llama, kind: str) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n]
    embedding = [model.model.embed_tokens.weight]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    if kind == "adamw":
        embedding, matrices = embedding + matrices, []
    groups = [
        {"params": embedding, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
    return [adam, Muon(matrices, lr=0.0)] if matrices else [adam]


def save(path: Path, model: Llama, optimizers: list, progress: dict) -> None:
    """Written beside, then renamed: an interruption never leaves half a checkpoint."""
    beside = path.with_suffix(".new")
    state = {
        "config": model.config.to_dict(),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": progress,
    }
    torch.save(state, beside)
    os.replace(beside, path)


def begin(args: argparse.Namespace, model: Llama, optimizers: list) -> dict:
    """The progress so far: of this run, or none, with the weights of another where it is named."""
    path = args.work / "checkpoint.pt"
    progress = {"seconds": 0.0, "steps": 0, "short": 0, "long": 0, "tokens": 0}
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, held in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        progress = state["progress"]
        print(f"resumed: {json.dumps(progress)}", flush=True)
    elif args.source:
        model.load_state_dict(torch.load(args.source, weights_only=True)["model"])
        print(f"weights of {args.source}", flush=True)
    return progress


def run_step(model: Llama, batches: list) -> float:
    """Gradients of the mean loss over all batches, clipped; returns that loss."""
    counted = sum(int((targets >= 0).sum()) for _, targets in batches)
    total = 0.0
    for ids, targets in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(ids, targets) / counted
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--from", dest="source", type=Path, help="a checkpoint to begin from")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=50.0, help="the longest time to train")
    parser.add_argument("--batches", type=int, default=2, help="batches in one step")
    parser.add_argument("--tokens-per-batch", type=int, default=1024)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--peak", type=float, default=1.5e-3)
    parser.add_argument("--checkpoint-seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = Llama(ModelConfig())
    optimizers = make_optimizers(model, args.optimizer)
    progress = begin(args, model, optimizers)
    size = args.tokens_per_batch
    sources = {
        "short": Batches(args.work, "short", SHORT_LENGTH, size, args.seed),
        "long": Batches(args.work, "long", LONG_LENGTH, size, args.seed),
    }
    made = {name: len(source.batches) for name, source in sources.items()}
    print(f"parameters {sum(p.numel() for p in model.parameters())}, batches {made}", flush=True)
    stopped = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: stopped.append(number))
    saved, losses, last = progress["seconds"], [], time.monotonic()
    while not stopped and (share := schedule_share(progress, args.steps, args.minutes)) < 1:
        batches = []
        for _ in range(args.batches):
            turn = progress["short"] + progress["long"]
            name = "long" if share > LONG_FROM and turn % LONG_EVERY == 0 else "short"
            batches.append(sources[name](progress[name]))
            progress[name] += 1
            progress["tokens"] += batches[-1][0].numel()
        rate = learning_rate(share, args.peak)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate
        losses.append(run_step(model, batches))
        for optimizer in optimizers:
            optimizer.step()
        progress["steps"] += 1
        now = time.monotonic()
        progress["seconds"], last = progress["seconds"] + min(now - last, PAUSE_SECONDS), now
        if len(losses) == 50:
            mean, cpu = sum(losses) / len(losses), time.process_time()
            done = f"step {progress['steps']} tokens {progress['tokens']} cpu {cpu:.0f}"
            print(f"{done} s {progress['seconds']:.0f} loss {mean:.4f} lr {rate:.2e}", flush=True)
            losses.clear()
        if progress["seconds"] - saved > args.checkpoint_seconds:
            save(args.work / "checkpoint.pt", model, optimizers, progress)
            saved = progress["seconds"]
    save(args.work / "checkpoint.pt", model, optimizers, progress)
    print(f"{'stopped' if stopped else 'done'}: {json.dumps(progress)}", flush=True)


if __name__ == "__main__":
    main()
