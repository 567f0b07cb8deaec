"""Writes golden.jsonl: what transformers computes in float32 from the exported weights.

    python golden.py [--model configs/models/trireme-demo]

The C++ side is compared with it. One line per chat: messages, rendered (by the chat template),
prompt_ids, greedy_ids (up to 64, or the end token), text. Our own forward pass must give the same
logits on every prompt, or nothing is written.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from score import Folder

MAX_NEW_TOKENS = 64
LOGIT_TOLERANCE = 1e-3
PROMPTS = [
    "Hello!",
    "What is Trireme?",
    "What does the router do?",
    "What is tensor parallelism?",
    "Explain how Trireme serves a request.",
    "What is 23 + 45?",
    "What is 81 - 27?",
    "What is 6 x 7?",
    "List the days of the week.",
    "Write a bulleted list of three fruits.",
    "Repeat the word oar five times.",
    "Reverse this list: sun, moon, star",
    "Count to 12.",
    "What is the KV cache?",
    'What is the opposite of big? Answer as a JSON object with the key "answer".',
    "Who is the president of France?",
    "Grüße aus Köln! 你好, ½ ✓ 🚣",
]
CHATS = [
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is a replica?"},
    ],
    [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "What is TTFT?"},
    ],
    [
        {"role": "system", "content": "  Be polite and correct.\n"},
        {"role": "user", "content": "What is prefill?"},
        {"role": "assistant", "content": "Prefill is the first phase of a request."},
        {"role": "user", "content": "  Thanks!  "},
    ],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("configs/models/trireme-demo"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("golden.jsonl"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ours = Folder(args.model)
    lines, worst = [], 0.0
    single = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    for messages in single + CHATS:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert rendered == ours.render(messages), rendered
        prompt_ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        assert prompt_ids == ours.tokenizer.encode(rendered, add_special_tokens=False).ids
        ids = torch.tensor([prompt_ids])
        with torch.no_grad():
            worst = max(worst, float((model(ids).logits - ours.model(ids)).abs().max()))
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                temperature=None,
                top_p=None,
                max_new_tokens=MAX_NEW_TOKENS,
            )
        greedy_ids = made[0, len(prompt_ids) :].tolist()
        text = tokenizer.decode(greedy_ids, skip_special_tokens=True)
        lines.append(
            {
                "messages": messages,
                "rendered": rendered,
                "prompt_ids": prompt_ids,
                "greedy_ids": greedy_ids,
                "text": text,
            }
        )
    assert worst < LOGIT_TOLERANCE, f"our logits differ from those of transformers by {worst}"
    with open(args.out, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(json.dumps({"lines": len(lines), "largest_logit_difference": worst}))


if __name__ == "__main__":
    main()
