"""The chat format: special tokens, the Jinja template, and its rendering in parts for training."""

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL_TOKENS = [BOS, EOS, PAD, SYSTEM, USER, ASSISTANT, END, "<|reserved_0|>"]

TEMPLATE = (
    "{{- bos_token }}\n"
    "{%- for message in messages %}\n"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] %}\n"
    "{{- raise_exception('The role must be system, user or assistant.') }}\n"
    "{%- endif %}\n"
    "{{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "{{- '<|assistant|>' }}\n"
    "{%- endif %}\n"
)


def parts(messages: list[dict]) -> list[tuple[str, bool]]:
    """(text, trained) pairs; their texts joined are the rendered template.

    An answer is trained with its end token, except where the training text breaks it off.
    """
    pieces = [(BOS, False)]
    for message in messages:
        trained = message["role"] == "assistant"
        pieces.append((f"<|{message['role']}|>", False))
        end = "" if message.get("broken_off") else END
        pieces.append((message["content"].strip() + end, trained))
    return pieces
