"""Sums, tables, comparisons and counting.

A skill is a function from a random generator to (question, answer, key). The key names the
arguments, so that those of the held-out list never reach the training data.
"""

import random

Skill = tuple[str, str, str]

ADD = [
    "What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b} = ?", "{a} + {b}", "{a}+{b}",
    "{a}+{b}=?", "Add {a} and {b}.", "How much is {a} + {b}?", "How much is {a} plus {b}?",
    "Calculate {a} + {b}.", "Compute {a} + {b}.", "What is the sum of {a} and {b}?",
    "Give me the sum of {a} and {b}.", "What do you get when you add {a} and {b}?",
    "Can you add {a} and {b}?", "Work out {a} + {b}.", "What does {a} + {b} make?",
    "Please add {b} to {a}.", "What is {a} and {b} together?", "Solve {a} + {b}.", "Sum: {a} + {b}",
]
SUB = [
    "What is {a} - {b}?", "What is {a} minus {b}?", "{a} - {b} = ?", "{a} - {b}", "{a}-{b}",
    "{a}-{b}=?", "Subtract {b} from {a}.", "How much is {a} - {b}?", "How much is {a} minus {b}?",
    "Calculate {a} - {b}.", "Compute {a} - {b}.", "Take {b} away from {a}.",
    "What is the difference of {a} and {b}?", "What is left when you take {b} from {a}?",
    "Work out {a} - {b}.", "Solve {a} - {b}.", "What do you get when you subtract {b} from {a}?",
    "What is {a} less {b}?",
]
MUL = [
    "What is {a} x {b}?", "What is {a} times {b}?", "{a} x {b} = ?", "{a} x {b}", "{a} * {b}",
    "What is {a} * {b}?", "Multiply {a} by {b}.", "How much is {a} times {b}?",
    "Calculate {a} x {b}.", "Compute {a} * {b}.", "What is the product of {a} and {b}?",
    "Multiply {a} and {b}.", "What is {a} multiplied by {b}?", "Work out {a} x {b}.",
    "Solve {a} * {b}.", "What do you get when you multiply {a} by {b}?",
]
LARGER = [
    "Which is larger, {a} or {b}?", "Which number is larger, {a} or {b}?",
    "Which is bigger, {a} or {b}?", "What is larger: {a} or {b}?",
    "Which of {a} and {b} is larger?", "Is {a} or {b} larger?",
    "Which number is greater, {a} or {b}?", "Tell me the larger of {a} and {b}.",
    "What is the maximum of {a} and {b}?", "Which is more, {a} or {b}?", "Compare {a} and {b}.",
    "Which one is the larger number: {a} or {b}?",
]
SMALLER = [
    "Which is smaller, {a} or {b}?", "Which number is smaller, {a} or {b}?",
    "What is smaller: {a} or {b}?", "Which of {a} and {b} is smaller?", "Is {a} or {b} smaller?",
    "Which number is less, {a} or {b}?", "What is the minimum of {a} and {b}?",
    "Which is less, {a} or {b}?", "Tell me the smaller of {a} and {b}.",
    "Which one is the smaller number: {a} or {b}?",
]
PARITY = [
    "Is {a} even or odd?", "Is {a} an even number?", "Is {a} odd?", "Is {a} even?",
    "Is the number {a} even or odd?", "Even or odd: {a}?", "Tell me whether {a} is even or odd.",
    "Is {a} an odd number?",
]
NEXT = [
    "What comes after {a}?", "Which number comes after {a}?", "What is the next number after {a}?",
    "What number follows {a}?", "What is one more than {a}?",
]
BEFORE = [
    "What comes before {a}?", "Which number comes before {a}?", "What number is before {a}?",
    "What is one less than {a}?",
]
THINGS = [
    "apples", "books", "pens", "coins", "stones", "cups", "eggs", "boats", "keys", "cards", "GPUs",
    "nodes", "oars", "ships",
]
GAIN = [
    "I have {a} {t} and get {b} more. How many {t} do I have?",
    "There are {a} {t}. Then {b} more come. How many {t} are there?",
    "If I have {a} {t} and find {b} more, how many do I have?",
    "One box has {a} {t}, another has {b}. How many {t} are there in both?",
    "{a} {t} and {b} {t} are how many {t}?",
]
LOSE = [
    "I have {a} {t} and give away {b}. How many {t} do I have?",
    "There are {a} {t}. Then {b} are taken away. How many {t} are there?",
    "If I have {a} {t} and lose {b}, how many do I have?",
    "From {a} {t} I use {b}. How many {t} remain?",
]
COUNT = [
    "Count to {n}.", "Count from 1 to {n}.", "Can you count to {n}?", "Please count up to {n}.",
    "Count up to {n}.", "Count from one to {n}.", "List the numbers from 1 to {n}.",
    "Write the numbers from 1 to {n}.", "Say the numbers 1 to {n}.",
    "Give me the numbers from 1 to {n}.",
]
RANGE = [
    "Count from {a} to {n}.", "List the numbers from {a} to {n}.", "Write the numbers {a} to {n}.",
    "Say the numbers from {a} to {n}.", "Give me all numbers from {a} to {n}.",
    "Which numbers are there from {a} to {n}?", "Please count from {a} up to {n}.",
    "Start at {a} and count to {n}.", "Numbers from {a} to {n}?",
]
PARITY_RANGE = [
    "List the {p} numbers from {a} to {n}.", "Write all {p} numbers from {a} to {n}.",
    "Which {p} numbers are there from {a} to {n}?", "Give me the {p} numbers between {a} and {n}.",
    "Name the {p} numbers {a} to {n}.",
]
DOWN_RANGE = [
    "Count down from {n} to {a}.", "Count from {n} down to {a}.",
    "Count backwards from {n} to {a}.",
    "Go down from {n} to {a}.",
]
COUNT_DOWN = [
    "Count down from {n}.", "Count down from {n} to 1.", "Count backwards from {n}.",
    "Count from {n} down to 1.", "Do a countdown from {n}.",
]
EVEN = [
    "List the even numbers up to {n}.", "Which even numbers are there up to {n}?",
    "Write the even numbers from 2 to {n}.", "Name the even numbers up to {n}.",
    "Give me all even numbers up to {n}.", "What are the even numbers up to {n}?",
]
ODD = [
    "List the odd numbers up to {n}.", "Which odd numbers are there up to {n}?",
    "Write the odd numbers from 1 to {n}.", "Name the odd numbers up to {n}.",
    "Give me all odd numbers up to {n}.", "What are the odd numbers up to {n}?",
]
PRIMES = [
    "List the first {n} prime numbers.", "What are the first {n} primes?",
    "Name the first {n} prime numbers.", "Give me the first {n} primes.",
    "Write the first {n} prime numbers.",
]
TABLE = [
    "Write the table of {n}.", "Say the {n} times table.", "What is the {n} times table?",
    "List the first ten multiples of {n}.", "Give me the multiplication table of {n}.",
    "What are the first ten multiples of {n}?",
]
FIRST_PRIMES = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]


def join(numbers) -> str:
    return ", ".join(str(n) for n in numbers)


def pair_key(name: str, a: int, b: int) -> str:
    """The same key for both orders."""
    return f"{name}:{min(a, b)}:{max(a, b)}"


def worked_sum(a: int, b: int) -> str:
    """Units and tens apart, so that each step is small: the answer shows its way."""
    units, tens = a % 10 + b % 10, a - a % 10 + b - b % 10
    if max(a, b) < 10:
        return f"{a} + {b} = {a + b}."
    by_units = f"{a % 10} + {b % 10} = {units}"
    by_tens = f"{a - a % 10} + {b - b % 10} = {tens}"
    return f"{by_units} and {by_tens}, so {a} + {b} = {a + b}."


def worked_difference(a: int, b: int) -> str:
    """First the tens are taken away, then the units; units alone go down to the round number."""
    tens, units = b - b % 10, b % 10
    if tens == 0 and 0 < a % 10 < units:
        round_number, rest = a - a % 10, units - a % 10
        first = f"{a} - {a % 10} = {round_number}"
        return f"{first} and {round_number} - {rest} = {a - b}, so {a} - {b} = {a - b}."
    if tens == 0 or units == 0:
        return f"{a} - {b} = {a - b}."
    rest = a - tens
    return f"{a} - {tens} = {rest} and {rest} - {units} = {a - b}, so {a} - {b} = {a - b}."


def add(rng: random.Random) -> Skill:
    total = rng.randint(0, 100)
    a = rng.randint(0, total)
    b = total - a
    if rng.random() < 0.12:
        things = rng.choice(THINGS)
        question = rng.choice(GAIN).format(a=a, b=b, t=things)
        answer = f"{worked_sum(a, b)} The answer is {total} {things}."
        return question, answer, pair_key("add", a, b)
    return rng.choice(ADD).format(a=a, b=b), worked_sum(a, b), pair_key("add", a, b)


def subtract(rng: random.Random) -> Skill:
    a = rng.randint(0, 100)
    b = rng.randint(0, a)
    if rng.random() < 0.12:
        things = rng.choice(THINGS)
        question = rng.choice(LOSE).format(a=a, b=b, t=things)
        answer = f"{worked_difference(a, b)} The answer is {a - b} {things}."
        return question, answer, f"sub:{a}:{b}"
    return rng.choice(SUB).format(a=a, b=b), worked_difference(a, b), f"sub:{a}:{b}"


def multiply(rng: random.Random) -> Skill:
    """The table is learned with the larger factor first; the other order is turned around."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    answer = f"{a} x {b} = {a * b}." if a >= b else f"{a} x {b} = {b} x {a} = {a * b}."
    return rng.choice(MUL).format(a=a, b=b), answer, f"mul:{a}:{b}"


def compare(rng: random.Random) -> Skill:
    a, b = rng.sample(range(101), 2)
    key, low, high = pair_key("compare", a, b), min(a, b), max(a, b)
    if rng.random() < 0.5:
        return rng.choice(LARGER).format(a=a, b=b), f"{high} is larger than {low}.", key
    return rng.choice(SMALLER).format(a=a, b=b), f"{low} is smaller than {high}.", key


def parity(rng: random.Random) -> Skill:
    a = rng.randint(0, 100)
    return rng.choice(PARITY).format(a=a), f"{a} is {'odd' if a % 2 else 'even'}.", f"parity:{a}"


def neighbour(rng: random.Random) -> Skill:
    a = rng.randint(1, 99)
    if rng.random() < 0.6:
        return rng.choice(NEXT).format(a=a), f"After {a} comes {a + 1}.", f"next:{a}"
    return rng.choice(BEFORE).format(a=a), f"Before {a} comes {a - 1}.", f"before:{a}"


def count(rng: random.Random) -> Skill:
    n = rng.randint(3, 30)
    return rng.choice(COUNT).format(n=n), join(range(1, n + 1)), f"count:{n}"


def count_down(rng: random.Random) -> Skill:
    n = rng.randint(3, 20)
    return rng.choice(COUNT_DOWN).format(n=n), join(range(n, 0, -1)), f"countdown:{n}"


def parity_list(rng: random.Random) -> Skill:
    start, templates, name = rng.choice([(2, EVEN, "even"), (1, ODD, "odd")])
    n = rng.randint(4, 30)
    return rng.choice(templates).format(n=n), join(range(start, n + 1, 2)), f"{name}:{n}"


def number_range(rng: random.Random) -> Skill:
    """Other beginnings than 1, so that the end of a list follows from the question alone."""
    a, how = rng.randint(2, 40), rng.choice(["up", "up", "down", "even", "odd"])
    n = a + rng.randint(2, 14)
    if how == "up":
        return rng.choice(RANGE).format(a=a, n=n), join(range(a, n + 1)), f"range:{a}:{n}"
    if how == "down":
        return rng.choice(DOWN_RANGE).format(a=a, n=n), join(range(n, a - 1, -1)), f"down:{n}:{a}"
    first = a if (a % 2 == 1) == (how == "odd") else a + 1
    question = rng.choice(PARITY_RANGE).format(a=a, n=n, p=how)
    return question, join(range(first, n + 1, 2)), f"{how}:{a}:{n}"


def primes(rng: random.Random) -> Skill:
    n = rng.randint(3, 10)
    return rng.choice(PRIMES).format(n=n), join(FIRST_PRIMES[:n]), f"primes:{n}"


def table(rng: random.Random) -> Skill:
    n = rng.randint(2, 10)
    return rng.choice(TABLE).format(n=n), join(n * i for i in range(1, 11)), f"table:{n}"


# (skill, weight)
SKILLS = [
    (add, 24), (subtract, 26), (multiply, 16), (compare, 14), (parity, 5), (neighbour, 5),
    (count, 7), (count_down, 3), (parity_list, 7), (number_range, 11), (primes, 1), (table, 2),
]
