"""Scores an exported model folder on the held-out list with greedy decoding.

python score.py [--model configs/models/trireme-demo] [--quiet] [--json FILE]
"""

import argparse
import json
import re
from pathlib import Path

import jinja2
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from heldout import load
from model import Llama, ModelConfig, greedy

MAX_NEW_TOKENS = 120


class Folder:
    """A model folder: weights through our own forward pass in float32, tokenizer, chat template."""

    def __init__(self, path: Path):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        names = ModelConfig.__dataclass_fields__
        known = {name: config[name] for name in names if name in config}
        known["rope_theta"] = config["rope_theta"]
        self.model = Llama(ModelConfig(**known))
        weights = {
            name: tensor.float() for name, tensor in load_file(path / "model.safetensors").items()
        }
        self.model.load_state_dict(weights, strict=True)
        self.model.eval()
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer_config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self.template = environment.from_string(tokenizer_config["chat_template"])
        self.bos = tokenizer_config["bos_token"]
        eos = json.loads((path / "generation_config.json").read_text(encoding="utf-8"))[
            "eos_token_id"
        ]
        self.eos_ids = set(eos if isinstance(eos, list) else [eos])

    def render(self, messages: list[dict]) -> str:
        return self.template.render(
            messages=messages, add_generation_prompt=True, bos_token=self.bos
        )

    def answer(self, messages: list[dict], max_new_tokens: int = MAX_NEW_TOKENS) -> str:
        prompt = self.tokenizer.encode(self.render(messages), add_special_tokens=False).ids
        return self.tokenizer.decode(
            greedy(self.model, prompt, self.eos_ids, max_new_tokens), skip_special_tokens=True
        )


def passes(check: dict, answer: str) -> bool:
    if check["type"] == "exact":
        return answer.strip() == check["text"]
    if check["type"] == "all":
        return all(
            re.search(pattern, answer, re.IGNORECASE | re.DOTALL) for pattern in check["patterns"]
        )
    if check["type"] == "json":
        try:
            return json.loads(answer) == check["value"]
        except ValueError:
            return False
    raise ValueError(f"unknown check {check['type']}")


def score(folder: Folder, items: list[dict], quiet: bool) -> dict:
    right: dict[str, list[bool]] = {}
    rows = []
    for item in items:
        answer = folder.answer(item["messages"])
        passed = passes(item["check"], answer)
        right.setdefault(item["category"], []).append(passed)
        rows.append({"id": item["id"], "passed": passed, "answer": answer})
        if not quiet or not passed:
            prompt = item["messages"][-1]["content"]
            mark = "right" if passed else "WRONG"
            print(f"{mark}  {item['id']}\n    Q {prompt!r}\n    A {answer!r}", flush=True)
    total = sum(sum(passed) for passed in right.values())
    return {
        "right": total,
        "of": len(items),
        "by_category": {name: f"{sum(p)}/{len(p)}" for name, p in right.items()},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("configs/models/trireme-demo"))
    parser.add_argument("--quiet", action="store_true", help="print only the wrong ones")
    parser.add_argument("--json", type=Path, help="also write every answer to this file")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = score(Folder(args.model), load(), args.quiet)
    if args.json:
        args.json.write_text(
            json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    print(
        f"{result['right']} of {result['of']} right; "
        + ", ".join(f"{name} {part}" for name, part in result["by_category"].items())
    )


if __name__ == "__main__":
    main()
