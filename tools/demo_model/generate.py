"""Writes the training text: a seeded mixture of facts, skills, small talk and refusals, as chats.

python generate.py --work DIR [--examples 240000] [--seed 1]
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import numbers_skill
import paraphrase
import phrasing
import smalltalk
import words_skill
from asking import MORE_WAYS
from facts_field import FIELD_TOPICS
from facts_trireme import TRIREME_TOPICS
from heldout import Exclusion, load
from topic import Topic

# Share of each source in the questions.
MIXTURE = {"fact": 44, "numbers": 20, "words": 28, "refusal": 5, "talk": 3}
TOPICS = TRIREME_TOPICS + FIELD_TOPICS
# Of the chats of one question with a long known answer, the share whose answer breaks off after a
# few words: which answer it is shows in these, and they cost half as much.
BROKEN_OFF = 0.7
DETAILED = [topic for topic in TOPICS if topic.detail]


def key_of(topic: Topic) -> str:
    """What asking.py calls a topic."""
    return topic.names[0] if topic.names else topic.questions[0]


def check_keys() -> None:
    unknown = set(MORE_WAYS) - {key_of(topic) for topic in TOPICS}
    if unknown:
        raise ValueError(f"asking.py has ways to ask for no topic: {sorted(unknown)}")


def fact(rng: random.Random) -> tuple[str, str]:
    style = rng.choices(["plain", "short", "detail"], [90, 7, 3])[0]
    if style == "detail":
        return detailed(rng, rng.choice(DETAILED))
    # Trireme's own topics come up more often than the field's.
    topic = rng.choice(TRIREME_TOPICS if rng.random() < 0.56 else FIELD_TOPICS)
    if style == "short":
        answer = phrasing.first_sentence(topic.answer)
        if topic.names and (not topic.questions or rng.random() < 0.6):
            return rng.choice(phrasing.SHORT).format(x=rng.choice(topic.names)), answer
        return rng.choice(topic.questions) + rng.choice(phrasing.SHORT_SUFFIX), answer
    return phrasing.dress(rng, question_about(rng, topic)), topic.answer


def question_about(rng: random.Random, topic: Topic) -> str:
    more = MORE_WAYS.get(key_of(topic), [])
    ways = {
        "define": 2.0 if topic.names else 0.0,
        "frame": 3.0 if topic.names else 0.0,
        "own": 2.0 + 0.4 * len(topic.questions) if topic.questions else 0.0,
        "more": 4.0 if more else 0.0,
    }
    way = rng.choices(list(ways), list(ways.values()))[0]
    if way == "frame":
        return paraphrase.frame(rng, rng.choice(topic.names))
    if way == "own":
        return paraphrase.reword(rng, rng.choice(topic.questions))
    if way == "more":
        question = paraphrase.expand(rng, rng.choice(more))
        return paraphrase.other_words(rng, question, 0.15) if rng.random() < 0.4 else question
    template = rng.choice(phrasing.DEFINE[:12] if rng.random() < 0.3 else phrasing.DEFINE)
    text = template.format(x=rng.choice(topic.names))
    return text[:1].upper() + text[1:] if rng.random() < 0.7 else text


def detailed(rng: random.Random, topic: Topic) -> tuple[str, str]:
    if topic.names and rng.random() < 0.4:
        return rng.choice(phrasing.DETAIL_DEFINE).format(x=rng.choice(topic.names)), topic.detail
    question = rng.choice(topic.questions)
    if rng.random() < 0.3:
        return rng.choice(phrasing.DETAIL_PREFIX) + phrasing.lower_first(question), topic.detail
    return question + rng.choice(phrasing.DETAIL_SUFFIX), topic.detail


def ask(rng: random.Random, exclusion: Exclusion, dropped: Counter) -> tuple[str, str, str]:
    """One question, its answer and its source, never one that the held-out list excludes."""
    while True:
        source = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        key = ""
        if source in ("numbers", "words"):
            skills = numbers_skill.SKILLS if source == "numbers" else words_skill.SKILLS
            skill = rng.choices([s for s, _ in skills], [w for _, w in skills])[0]
            question, answer, key = skill(rng)
            if rng.random() < 0.12:
                prefix = rng.choice(phrasing.PREFIX)
                question = phrasing.join(prefix, question)
            elif rng.random() < 0.06:
                question = question.rstrip("?.")
        elif source == "fact":
            question, answer = fact(rng)
        elif source == "refusal":
            question, answer = smalltalk.refusal(rng)
            question = phrasing.dress(rng, question)
        else:
            question, answer = smalltalk.talk(rng)
            question = phrasing.dress(rng, question) if rng.random() < 0.2 else question
        if not exclusion.hits(question, key):
            return question, answer, source
        dropped[source] += 1


def chat(rng: random.Random, exclusion: Exclusion, dropped: Counter, turns: int) -> list[dict]:
    messages = []
    if rng.random() < 0.12:
        messages.append({"role": "system", "content": rng.choice(phrasing.SYSTEM)})
    for _ in range(turns):
        question, answer, source = ask(rng, exclusion, dropped)
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    words = answer.split(" ")
    if turns == 1 and source in ("fact", "refusal") and len(words) > 14:
        if rng.random() < BROKEN_OFF:
            begun = " ".join(words[: rng.randint(5, 9)])
            messages[-1] = {"role": "assistant", "content": begun, "broken_off": True}
    return messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--examples", type=int, default=240_000)
    parser.add_argument("--long-examples", type=int, default=5_000, help="chats of many turns")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    check_keys()
    args.work.mkdir(parents=True, exist_ok=True)
    rng, exclusion, dropped = random.Random(args.seed), Exclusion(load()), Counter()
    with open(args.work / "short.jsonl", "w", encoding="utf-8") as out:
        for _ in range(args.examples):
            turns = 1 if rng.random() < 0.85 else rng.randint(2, 4)
            out.write(json.dumps(chat(rng, exclusion, dropped, turns)) + "\n")
    with open(args.work / "long.jsonl", "w", encoding="utf-8") as out:
        for _ in range(args.long_examples):
            out.write(json.dumps(chat(rng, exclusion, dropped, rng.randint(5, 16))) + "\n")
    print(json.dumps({"topics": len(TOPICS), "dropped_as_held_out": dict(dropped)}))


if __name__ == "__main__":
    main()
