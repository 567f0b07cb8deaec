"""Trains the demo model on CPU; run again, it goes on from the last checkpoint.

    python train.py --work DIR [--steps 8000] [--minutes 50] [--threads 2]

The schedule (warm-up, cosine decay, and rows of the full context length for the last part) follows
the steps or the time spent, whichever is further on, so that a busy machine ends in time with a
model that is annealed. A checkpoint holds weights, optimizer, steps and the time spent.
"""

import argparse
import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from data import packed_rows
from model import Llama, ModelConfig

SHORT_LENGTH, LONG_LENGTH = 256, 1024
WARM_UP = 0.03  # share of the schedule
FLOOR = 0.03  # last learning rate, as a share of the peak
# A step that seems to take longer was suspended, and the rest does not count as training.
PAUSE_SECONDS = 10.0


class Rows:
    """Batches of one packed file in an order that depends only on the seed and the pass."""

    def __init__(self, work: Path, name: str, length: int, tokens_per_step: int, seed: int):
        self.tokens, self.counted = packed_rows(work, name, length)
        self.batch, self.seed = tokens_per_step // length, seed
        self.per_pass = len(self.tokens) // self.batch

    def __call__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        turn, at = divmod(index, self.per_pass)
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.tokens))
        chosen = order[at * self.batch : (at + 1) * self.batch]
        ids = torch.from_numpy(self.tokens[chosen].astype(np.int64))
        targets = ids.masked_fill(~torch.from_numpy(self.counted[chosen]), -1)
        return ids[:, :-1].contiguous(), targets[:, 1:].contiguous()


def learning_rate(share: float, peak: float) -> float:
    if share < WARM_UP:
        return peak * (share + 1e-3) / WARM_UP
    cosine = math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + cosine))


def schedule_share(progress: dict, steps: int, minutes: float) -> float:
    """How much of the schedule is done, from 0 to 1."""
    return max((progress["short"] + progress["long"]) / steps, progress["seconds"] / (minutes * 60))


def make_optimizer(model: Llama, peak: float) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)


def save(path: Path, model: Llama, optimizer: torch.optim.Optimizer, progress: dict) -> None:
    """Written beside, then renamed: an interruption never leaves half a checkpoint."""
    beside = path.with_suffix(".new")
    state = {
        "config": model.config.to_dict(),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": progress,
    }
    torch.save(state, beside)
    os.replace(beside, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=50.0, help="the longest time to train")
    parser.add_argument(
        "--long-share", type=float, default=0.12, help="share for rows of the full context"
    )
    parser.add_argument("--tokens-per-step", type=int, default=1024)
    parser.add_argument("--peak", type=float, default=1.2e-3)
    parser.add_argument("--checkpoint-seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = Llama(ModelConfig())
    optimizer = make_optimizer(model, args.peak)
    path, progress = args.work / "checkpoint.pt", {"seconds": 0.0, "short": 0, "long": 0}
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        progress = state["progress"]
        print(f"resumed: {json.dumps(progress)}", flush=True)
    sources = {
        "short": Rows(args.work, "short", SHORT_LENGTH, args.tokens_per_step, args.seed),
        "long": Rows(args.work, "long", LONG_LENGTH, args.tokens_per_step, args.seed),
    }
    rows = {name: len(source.tokens) for name, source in sources.items()}
    print(f"parameters {sum(p.numel() for p in model.parameters())}, rows {rows}", flush=True)
    stopped = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: stopped.append(number))
    saved, losses, last = progress["seconds"], [], time.monotonic()
    while not stopped and (share := schedule_share(progress, args.steps, args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(share, args.peak)
        name = "long" if share > 1 - args.long_share else "short"
        ids, targets = sources[name](progress[name])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        losses.append(loss.item())
        progress[name] += 1
        now = time.monotonic()
        progress["seconds"], last = progress["seconds"] + min(now - last, PAUSE_SECONDS), now
        if len(losses) == 50:
            rate = optimizer.param_groups[0]["lr"]
            done = f"short {progress['short']} long {progress['long']}"
            mean = sum(losses) / len(losses)
            print(f"{done} s {progress['seconds']:.0f} loss {mean:.4f} lr {rate:.2e}", flush=True)
            losses.clear()
        if progress["seconds"] - saved > args.checkpoint_seconds:
            save(path, model, optimizer, progress)
            saved = progress["seconds"]
    save(path, model, optimizer, progress)
    print(f"{'stopped' if stopped else 'done'}: {json.dumps(progress)}", flush=True)


if __name__ == "__main__":
    main()
