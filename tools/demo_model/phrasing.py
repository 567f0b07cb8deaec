"""Ways to phrase a question, and what people put around it."""

import random

DEFINE = [
    "What is {x}?", "What's {x}?", "What exactly is {x}?", "Define {x}.", "Explain {x}.",
    "Explain {x} to me.", "Describe {x}.", "Tell me about {x}.", "Tell me what {x} is.",
    "Can you explain {x}?", "Can you explain what {x} is?", "Could you explain {x}?",
    "Could you tell me what {x} is?", "Do you know what {x} is?", "I want to know what {x} is.",
    "I would like to understand {x}.", "What is meant by {x}?", "What do you mean by {x}?",
    "What is the meaning of {x}?", "Give me a definition of {x}.", "Give a definition of {x}.",
    "Help me understand {x}.", "I do not understand {x}.", "I don't know what {x} is.",
    "How would you define {x}?", "How would you describe {x}?", "How would you explain {x}?",
    "What can you say about {x}?", "What should I know about {x}?", "Teach me about {x}.",
    "What do you know about {x}?", "{x}?", "{x}", "What is {x} about?", "So what is {x}?",
    "And what is {x}?", "Please define {x}.", "Say what {x} is.", "Write a definition of {x}.",
    "Introduce {x}.", "I heard about {x}. What is it?", "Someone mentioned {x}. What is that?",
    "The documentation mentions {x}. What is it?", "What is the idea of {x}?",
    "What is the idea behind {x}?", "Remind me what {x} is.", "I am new here. What is {x}?",
    "My colleague asked me about {x}. What should I say?", "Let's talk about {x}.",
    "I have a question about {x}.", "What does {x} mean?", "Explain the term {x}.",
    "What is the role of {x}?", "Why does {x} matter?", "Please tell me about {x}.",
]
SHORT = [
    "In one sentence, what is {x}?", "Briefly, what is {x}?", "What is {x}, in short?",
    "What is {x}? Answer in one sentence.", "Explain {x} in one sentence.", "Explain {x} briefly.",
    "Define {x} in one sentence.", "What is {x}? Be brief.",
    "Give me a one-sentence definition of {x}.", "Describe {x} in one sentence.",
    "Short answer please: what is {x}?",
]
SHORT_SUFFIX = [
    " Answer in one sentence.", " Be brief.", " Keep it short.", " In one sentence, please.",
]
DETAIL_PREFIX = ["In detail: ", "Please explain in detail: ", "Give me the long answer: "]
DETAIL_SUFFIX = [
    " Explain in detail.", " Give me the details.", " Please be thorough.", " Give a long answer.",
    " Explain step by step.",
]
DETAIL_DEFINE = [
    "Explain {x} in detail.", "Describe {x} in detail.", "Tell me everything about {x}.",
    "Give me a detailed description of {x}.",
]

PREFIX = [
    "Hi! ", "Hello. ", "Hello, ", "Hey, ", "Hi, ", "Good morning. ", "Please tell me: ",
    "Question: ", "Quick question: ", "Tell me, ", "One more question: ", "Excuse me, ", "OK, ",
    "So, ", "Now, ", "Well, ", "I wonder: ", "I have a question. ", "I am curious: ",
    "Can you tell me: ", "Could you answer this? ", "Next question: ", "Please answer: ",
    "I'd like to know: ", "A question about serving: ", "For a beginner: ", "Sorry, ",
    "Just curious, ", "Here is my question: ",
]
SUFFIX = [
    " Thanks!", " Thank you.", " Please.", " Please explain.", " I am new to this.",
    " I'm curious.", " Can you tell me?", " I need to know.", " I would like to know.",
    " Please help.", " Thanks in advance.", " Do you know?",
]

SYSTEM = [
    "You are a helpful assistant.", "You are the Trireme demo model.",
    "You are a helpful assistant for Trireme.", "Be helpful.", "Answer the user's questions.",
    "You are a friendly assistant.", "Be polite and correct.", "You are an assistant.",
]


def lower_first(text: str) -> str:
    """Lower case for a sentence that follows a comma or colon; acronyms and names keep theirs."""
    head = text.split(" ", 1)[0]
    inside_lower = head[1:].replace("'", "").islower()
    keep = head in ("I", "I'd", "I'm", "Trireme") or (len(head) > 1 and not inside_lower)
    return text if keep else text[:1].lower() + text[1:]


def join(prefix: str, question: str) -> str:
    return prefix + (lower_first(question) if prefix.rstrip()[-1] in ",:" else question)


def typo(rng: random.Random, text: str) -> str:
    """One slip of the fingers inside a longer word: two letters swapped, or one left out."""
    words = text.split(" ")
    plain = [len(word) > 5 and word.isalpha() and word.islower() for word in words]
    places = [i for i, usable in enumerate(plain) if usable]
    if not places:
        return text
    i = rng.choice(places)
    word, at = words[i], rng.randrange(1, len(words[i]) - 2)
    swapped = word[at + 1] + word[at] + word[at + 2 :]
    words[i] = word[:at] + (swapped if rng.random() < 0.5 else word[at + 1 :])
    return " ".join(words)


def dress(rng: random.Random, question: str, typos: bool = True) -> str:
    """The question as different people would type it."""
    text = question
    if rng.random() < 0.22:
        prefix = rng.choice(PREFIX)
        text = join(prefix, text)
    if rng.random() < 0.12:
        text += rng.choice(SUFFIX) if text[-1] in ".?!" else ""
    if rng.random() < 0.10:
        text = text.rstrip("?.!")
    if rng.random() < 0.10:
        text = text.lower()
    if typos and rng.random() < 0.03:
        text = typo(rng, text)
    return text


def first_sentence(text: str) -> str:
    head, dot, _ = text.partition(". ")
    return head + "." if dot else text
