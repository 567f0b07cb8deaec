"""Lists, simple words and answers in a given format; skills as in numbers_skill."""

import json
import random

import paraphrase
import words_phrases as say
from numbers_skill import Skill

WHOLE_LISTS = {
    "the days of the week": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "the weekdays": "Monday Tuesday Wednesday Thursday Friday",
    "the days of the weekend": "Saturday Sunday",
    "the months of the year": (
        "January February March April May June July August September October November December"
    ),
    "the seasons": "spring summer autumn winter",
    "the planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
    "the colours of the rainbow": "red orange yellow green blue indigo violet",
    "the primary colours": "red yellow blue", "the vowels": "a e i o u",
    "the continents": "Africa Antarctica Asia Australia Europe|North America|South America",
    "the oceans": "Atlantic Pacific Indian Arctic Southern",
    "the directions of the compass": "north east south west",
    "the five senses": "sight hearing smell taste touch",
    "the letters of the alphabet": "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
    "the parts of Trireme": "router coordinator worker",
    "the phases of a request": "prefill decode", "the backends of Trireme": "cpu cuda",
    "the collectives of Trireme": "inproc mpi nccl",
    "the commands of Trireme": "serve chat plan inspect tokenize render bench simulate",
}
KINDS = {
    "colours": "red blue green yellow orange purple black white",
    "fruits": "apple banana orange pear grape cherry lemon plum",
    "animals": "dog cat horse cow sheep lion bear fox",
    "vegetables": "carrot potato tomato onion bean pea cabbage spinach",
    "birds": "robin eagle owl crow swan duck goose hawk",
    "metals": "iron copper gold silver tin lead zinc nickel",
    "trees": "oak pine birch maple willow ash beech elm",
    "tools": "hammer saw drill axe knife spade rake file",
    "shapes": "circle square triangle rectangle star oval cube cone",
    "drinks": "water tea coffee milk juice lemonade cocoa cider",
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
    "months": "January February March April May June July August",
    "weekdays": "Monday Tuesday Wednesday Thursday Friday",
    "flowers": "rose tulip daisy lily violet poppy iris orchid",
    "instruments": "piano violin guitar drum flute trumpet harp cello",
    "pets": "dog cat rabbit hamster parrot goldfish",
    "vehicles": "car bus train bicycle boat plane tram truck",
    "clothes": "shirt trousers hat coat shoes socks scarf gloves",
    "numbers": "one two three four five six seven eight", "letters": "A B C D E F G H",
    "Trireme commands": "serve chat plan inspect bench simulate",
}
SPELLING = {"colours": "colors"}
ONE_WORD = {
    "the opposite of hot": "cold", "the opposite of big": "small", "the opposite of up": "down",
    "the opposite of fast": "slow", "the opposite of day": "night", "the opposite of left": "right",
    "the opposite of open": "closed", "the opposite of old": "new", "the opposite of full": "empty",
    "the opposite of light": "dark", "the opposite of early": "late", "the opposite of wet": "dry",
    "the opposite of high": "low", "the opposite of long": "short", "the opposite of happy": "sad",
    "the opposite of hard": "soft", "the opposite of true": "false",
    "the opposite of first": "last", "the opposite of strong": "weak",
    "the opposite of inside": "outside", "the colour of grass": "green",
    "the colour of snow": "white", "the colour of the sky": "blue", "the colour of coal": "black",
    "the colour of a banana": "yellow", "the colour of blood": "red",
    "the first day of the week": "Monday", "the last day of the week": "Sunday",
    "the first month of the year": "January", "the last month of the year": "December",
    "the largest planet": "Jupiter", "the planet closest to the Sun": "Mercury",
    "the planet that we live on": "Earth", "the coldest season": "winter",
    "the warmest season": "summer", "the young of a dog": "puppy", "the young of a cat": "kitten",
    "the animal that barks": "dog", "the animal that says meow": "cat",
    "the first letter of the alphabet": "A", "the last letter of the alphabet": "Z",
    "the largest ocean": "Pacific", "the language that Trireme is written in": "C++",
    "the launcher that starts a replica": "mpirun", "the process that handles HTTP": "router",
    "the process that plans the steps": "coordinator",
    "the process that holds the weights": "worker", "the phase that reads the prompt": "prefill",
    "the phase that makes new tokens": "decode", "the format of the metrics": "Prometheus",
}
COUNTS = {
    "days are there in a week": 7, "months are there in a year": 12, "hours are there in a day": 24,
    "minutes are there in an hour": 60, "seconds are there in a minute": 60, "planets are there": 8,
    "seasons are there": 4, "letters are in the alphabet": 26, "days are there in a year": 365,
    "sides does a triangle have": 3, "sides does a square have": 4, "legs does a dog have": 4,
    "legs does a spider have": 8, "wheels does a bicycle have": 2, "colours are in the rainbow": 7,
    "banks of oars does a trireme have": 3,
}
WORDS = (
    "apple river stone green silver water house garden light paper window music bread winter "
    "summer ocean mountain forest bridge circle table chair cloud storm candle mirror pencil "
    "rocket planet engine harbour sailor anchor rope sail wave island beach bird tiger rabbit "
    "lemon orange yellow purple sugar honey butter pepper cotton copper iron gold hammer button "
    "letter number market street village castle tower door floor roof wall sun moon star rain snow "
    "wind fire tree leaf flower grass seed fish dog cat horse sheep token cache router worker "
    "stage batch ledger prompt model node cluster hello world yes no north south east west"
).split()
NAMES = (
    "Ana Ben Carla David Emma Felix Grace Hugo Iris Jonas Kira Leo Mia Nora Oscar Paula Quinn Rosa "
    "Sam Tara Uma Victor Wanda Yara Zoe"
).split()
MORE_WORDS = sorted(set(" ".join(KINDS.values()).lower().split()) - set(WORDS))
SYLLABLES = (
    "ba ce di fo gu ha ki lo mu ne pa ri so tu va wi zo lam ter nis gol per dun fal rek mon"
).split()
NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
ORDERED = [
    ("the days of the week", "day"), ("the months of the year", "month"), ("the planets", "planet"),
    ("the letters of the alphabet", "letter"),
]
FIELDS = [
    ("name", "age"), ("name", "color"), ("name", "age", "color"), ("item", "count"),
    ("item", "color"),
]


def split_items(text: str) -> list[str]:
    """Words, but a part behind "|" is one item with its spaces."""
    head, *tail = text.split("|")
    return head.split() + tail


def any_word(rng: random.Random) -> str:
    """Mostly a common word; at times one that nobody knows, so that copying is learned as such."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(WORDS)
    if kind < 0.85:
        return rng.choice(MORE_WORDS)
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))


def different_words(rng: random.Random, n: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < n:
        found[any_word(rng)] = None
    return list(found)


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def prose(items: list[str]) -> str:
    text = ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else items[0]
    return sentence_case(text) + "."


def formatted(rng: random.Random, question: str, items: list[str]) -> tuple[str, str, str]:
    """The question with a format that it asks for, the items in it, and the format's name."""
    style = rng.choices(["prose", "bullets", "numbered", "json", "upper"], [60, 16, 10, 8, 6])[0]
    if style == "bullets":
        return question + rng.choice(say.BULLETS), "\n".join(f"- {item}" for item in items), style
    if style == "numbered":
        numbered = "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))
        return question + rng.choice(say.NUMBERED), numbered, style
    if style == "json":
        return question + rng.choice(say.AS_JSON), json.dumps(items), style
    if style == "upper":
        return question + rng.choice(say.IN_UPPER), ", ".join(items).upper(), style
    return question, prose(items), style


def comma_list(items) -> str:
    return ", ".join(str(item) for item in items)


def whole_list(rng: random.Random) -> Skill:
    name = rng.choice(list(WHOLE_LISTS))
    items = split_items(WHOLE_LISTS[name])
    known = [name, *say.LIST_NAMES.get(name, [])]
    if name in say.LIST_QUESTIONS and rng.random() < 0.3:
        question = paraphrase.expand(rng, rng.choice(say.LIST_QUESTIONS[name]))
    else:
        shown = name if rng.random() < 0.4 else paraphrase.expand(rng, rng.choice(known))
        template = paraphrase.expand(rng, rng.choice(say.ALL_OF))
        question = template.format(x=shown, y=shown.removeprefix("the "))
    question = question.replace("colour", "color") if rng.random() < 0.4 else question
    question, answer, style = formatted(rng, question, items)
    return question, answer, f"list:{name}:{style}"


def some_of_kind(rng: random.Random) -> Skill:
    kind = rng.choice(list(KINDS))
    n = rng.randint(2, min(6, len(KINDS[kind].split())))
    shown = SPELLING.get(kind, kind) if rng.random() < 0.4 else kind
    amount = NUMBER_WORDS[n] if rng.random() < 0.65 else str(n)
    template = paraphrase.expand(rng, rng.choice(say.SOME_OF))
    if rng.random() < 0.25:
        template = paraphrase.expand(rng, rng.choice(say.SOME_AS_BULLETS))
        answer = "\n".join(f"- {item}" for item in KINDS[kind].split()[:n])
        return template.format(n=amount, x=shown), answer, f"some:{kind}:{n}:bullets"
    asked = template.format(n=amount, x=shown)
    question, answer, style = formatted(rng, asked, KINDS[kind].split()[:n])
    return question, answer, f"some:{kind}:{n}:{style}"


def order(rng: random.Random) -> Skill:
    name, unit = rng.choice(ORDERED)
    items = split_items(WHOLE_LISTS[name])
    at = rng.randrange(len(items) - 1)
    first, second = items[at], items[at + 1]
    if rng.random() < 0.55:
        question = paraphrase.expand(rng, rng.choice(say.AFTER)).format(u=unit, x=first)
        return question, f"{second} comes after {first}.", f"after:{first}"
    question = paraphrase.expand(rng, rng.choice(say.BEFORE))
    return question.format(u=unit, x=second), f"{first} comes before {second}.", f"before:{second}"


def one_word(rng: random.Random) -> Skill:
    thing = rng.choice(list(ONE_WORD))
    word = ONE_WORD[thing]
    shown = thing.replace("colour", "color") if rng.random() < 0.4 else thing
    base = rng.choice(say.TELL).format(x=shown)
    style = rng.choices(["plain", "word", "upper", "json", "lower"], [35, 35, 12, 12, 6])[0]
    if style == "plain":
        return base, sentence_case(f"{thing} is {word}."), f"one:{thing}:plain"
    if style == "word":
        extra = rng.choice(say.ANSWER_IN_A_WORD)
        if rng.random() < 0.7:
            question = base + extra
        else:
            question = rng.choice(say.WORD_PREFIX) + base[0].lower() + base[1:]
        return question, sentence_case(word), f"one:{thing}:word"
    if style == "upper":
        return base + rng.choice(say.WORD_IN_UPPER), word.upper(), f"one:{thing}:upper"
    if style == "lower":
        return base + rng.choice(say.WORD_IN_LOWER), word.lower(), f"one:{thing}:lower"
    extra = rng.choice(say.ANSWER_AS_JSON)
    return base + extra, json.dumps({"answer": word}), f"one:{thing}:json"


def how_many(rng: random.Random) -> Skill:
    thing = rng.choice(list(COUNTS))
    number = COUNTS[thing]
    shown = thing.replace("colours", "colors") if rng.random() < 0.4 else thing
    if rng.random() < 0.3:
        question = f"How many {shown}?" + rng.choice(say.JUST_NUMBER)
        return question, str(number), f"many:{thing}:number"
    noun, _, rest = thing.partition(" ")
    verb, _, place = rest.partition(" ")
    if verb == "does":
        answer = sentence_case(f"{place.removesuffix(' have')} has {number} {noun}.")
    else:
        where = place.removeprefix("there").strip()
        answer = f"There are {number} {noun} {where}".rstrip() + "."
    return rng.choice(say.HOW_MANY).format(x=shown), answer, f"many:{thing}:plain"


def repeat(rng: random.Random) -> Skill:
    word, n = any_word(rng), rng.randint(2, 6)
    if rng.random() < 0.1:
        word = str(rng.randint(10, 99))
    if n == 2 and rng.random() < 0.5:
        times = "twice"
    else:
        times = f"{NUMBER_WORDS[n] if rng.random() < 0.6 else n} times"
    question = rng.choice(say.REPEAT).format(w=word, t=times)
    return question, " ".join([word] * n), f"repeat:{word}:{n}"


def upper(rng: random.Random) -> Skill:
    phrase = " ".join(any_word(rng) for _ in range(rng.choices([1, 2, 3], [50, 40, 10])[0]))
    question = rng.choice(say.UPPER).format(w=phrase)
    return question, phrase.upper(), f"upper:{phrase}"


def lower(rng: random.Random) -> Skill:
    phrase = " ".join(any_word(rng) for _ in range(rng.choices([1, 2], [60, 40])[0]))
    question = rng.choice(say.LOWER).format(w=phrase.upper())
    return question, phrase, f"lower:{phrase}"


def reverse(rng: random.Random) -> Skill:
    words = different_words(rng, rng.choice([2, 3, 3, 3]))
    question = rng.choice(say.REVERSE).format(l=", ".join(words))
    return question, ", ".join(reversed(words)), f"reverse:{','.join(words)}"


def pick(rng: random.Random) -> Skill:
    words = different_words(rng, rng.randint(3, 4))
    place, at = rng.choice([("first", 0), ("last", -1), ("second", 1)])
    question = rng.choice(say.PICK).format(p=place, l=", ".join(words))
    return question, f"The {place} one is {words[at]}.", f"pick:{place}:{','.join(words)}"


def count_items(rng: random.Random) -> Skill:
    words = rng.sample(WORDS, rng.randint(2, 6))
    question = rng.choice(say.COUNT_ITEMS).format(l=", ".join(words))
    return question, f"There are {len(words)} words.", f"items:{','.join(words)}"


def bullets(rng: random.Random) -> Skill:
    words = different_words(rng, rng.randint(2, 4))
    question = rng.choice(say.MAKE_BULLETS).format(l=", ".join(words))
    return question, "\n".join(f"- {word}" for word in words), f"bullets:{','.join(words)}"


def record(rng: random.Random) -> Skill:
    """A JSON object from values in the question."""
    name, age, colour = rng.choice(NAMES), rng.randint(2, 99), rng.choice(KINDS["colours"].split())
    fields = rng.choice(FIELDS)
    item = any_word(rng)
    values = {"name": name, "age": age, "color": colour, "item": item, "count": age}
    made = {field: values[field] for field in fields}
    keys = " and ".join([", ".join(fields[:-1]), fields[-1]])
    facts = ", ".join(f"{field} {value}" for field, value in made.items())
    question = rng.choice(say.RECORD).format(k=keys, f=facts)
    return question, json.dumps(made), f"record:{':'.join(map(str, made.values()))}"


def sort_numbers(rng: random.Random) -> Skill:
    numbers = rng.sample(range(1, 100), rng.choice([2, 3, 3, 3, 4]))
    question = rng.choice(say.SORT_NUMBERS).format(l=comma_list(numbers))
    return question, comma_list(sorted(numbers)), f"sort:{','.join(map(str, numbers))}"


# (skill, weight)
SKILLS = [
    (whole_list, 18), (some_of_kind, 20), (order, 7), (one_word, 18), (how_many, 4), (repeat, 11),
    (upper, 16), (lower, 2), (reverse, 11), (pick, 4), (count_items, 2), (bullets, 4),
    (record, 10), (sort_numbers, 13),
]
