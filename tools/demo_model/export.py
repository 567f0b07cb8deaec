"""Writes a checkpoint as a Hugging Face model folder: weights, config, tokenizer, chat template.

python export.py --work DIR [--out configs/models/trireme-demo]
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import chat
from model import ModelConfig

FOLDER_LIMIT_BYTES = 16 * 1000 * 1000


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_json(config: ModelConfig, tokenizer: Tokenizer) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(chat.BOS),
        "eos_token_id": [tokenizer.token_to_id(chat.END), tokenizer.token_to_id(chat.EOS)],
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "pad_token_id": tokenizer.token_to_id(chat.PAD),
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def generation_config_json(tokenizer: Tokenizer) -> dict:
    # A model of this size is best close to greedy; a little temperature keeps a seed meaningful.
    return {
        "bos_token_id": tokenizer.token_to_id(chat.BOS),
        "do_sample": True,
        "eos_token_id": [tokenizer.token_to_id(chat.END), tokenizer.token_to_id(chat.EOS)],
        "pad_token_id": tokenizer.token_to_id(chat.PAD),
        "temperature": 0.2,
        "top_p": 0.9,
    }


def tokenizer_config_json(config: ModelConfig, tokenizer: Tokenizer) -> dict:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {
        str(tokenizer.token_to_id(token)): {"content": token, **plain, "special": True}
        for token in chat.SPECIAL_TOKENS
    }
    return {
        "added_tokens_decoder": added,
        "bos_token": chat.BOS,
        "chat_template": chat.TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": chat.END,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": config.max_position_embeddings,
        "pad_token": chat.PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--out", type=Path, default=Path("configs/models/trireme-demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    state = torch.load(args.work / "checkpoint.pt", weights_only=True)
    config = ModelConfig(**state["config"])
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in state["model"].items()}
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)
    shutil.copyfile(args.work / "tokenizer.json", args.out / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    write_json(args.out / "config.json", config_json(config, tokenizer))
    write_json(args.out / "generation_config.json", generation_config_json(tokenizer))
    write_json(args.out / "tokenizer_config.json", tokenizer_config_json(config, tokenizer))
    size = sum(path.stat().st_size for path in args.out.iterdir() if path.is_file())
    assert size <= FOLDER_LIMIT_BYTES, f"{size} bytes are more than {FOLDER_LIMIT_BYTES}"
    parameters = sum(tensor.numel() for tensor in weights.values())
    report = {"parameters": parameters, "folder_bytes": size, "progress": state["progress"]}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
