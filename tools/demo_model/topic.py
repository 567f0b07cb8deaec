"""The shape of one thing the demo model knows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """An answer, and the ways to ask for it.

    names fit after "What is"; questions are complete and need no name; detail, where given, is the
    long answer. The first sentence of the answer stands alone: it is the short answer.
    """

    answer: str
    names: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    detail: str = ""


def topic(names: str, answer: str, *questions: str, detail: str = "") -> Topic:
    """names is one string, its parts divided by "|"; where it is empty, only the questions ask."""
    return Topic(answer, tuple(name for name in names.split("|") if name), questions, detail)
