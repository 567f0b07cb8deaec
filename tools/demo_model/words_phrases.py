"""Ways to ask for lists, words and formats: the templates of words_skill."""

ALL_OF = [
    "I would like {x}.", "Can you tell me {x}?", "Could you give me {x}?", "What are all {x}?",
    "Do you know all {y}?", "Which {y} are there?", "Show me {x}.", "I want to know {x}.",
    "What are {x}?", "List {x}.", "Name {x}.", "Tell me {x}.", "Write {x}.", "Give me {x}.",
    "Can you list {x}?", "Can you name {x}?", "Name all {y}.", "List all {y}.", "Please list {x}.",
    "Which are {x}?", "Give me a list of {x}.", "Write a list of {x}.", "Write down {x}.",
    "Enumerate {x}.", "Say {x} in order.", "I need a list of {x}.", "Do you know {x}?",
    "Could you list {x}?",
]
SOME_OF = [
    "I would like {n} {x}.", "Can you give me {n} {x}?", "Could you name {n} {x}?",
    "Show me {n} {x}.", "I want {n} {x}.", "Say {n} {x}.",
    "Name {n} {x}.", "List {n} {x}.", "Give me {n} {x}.", "Tell me {n} {x}.", "Write {n} {x}.",
    "Can you name {n} {x}?", "Please name {n} {x}.", "Can you list {n} {x}?", "What are {n} {x}?",
    "Give {n} examples of {x}.", "Give me a list of {n} {x}.", "I need {n} {x}.",
    "Think of {n} {x}.", "Could you give me {n} {x}?", "Write a list of {n} {x}.",
]
BULLETS = [
    " Use a bulleted list.", " Answer as a bulleted list.", " Use bullets.",
    " Write them as a bulleted list.", " Format: bulleted list.", " Use bullet points.",
]
NUMBERED = [
    " Use a numbered list.", " Answer as a numbered list.", " Number them.",
    " Write them as a numbered list.",
]
AS_JSON = [
    " Answer as a JSON array.", " Use a JSON array.", " Write them as JSON.",
    " Format: JSON array.",
]
IN_UPPER = [
    " Use upper case.", " In upper case.", " Write in capital letters.", " Answer in upper case.",
    " Use capital letters.",
]
SOME_AS_BULLETS = [
    "Write a bulleted list of {n} {x}.", "Give me a bulleted list of {n} {x}.",
    "List {n} {x} as bullet points.", "Name {n} {x} as a bulleted list.",
]
BEFORE = [
    "Which {u} comes before {x}?", "What {u} comes before {x}?", "What comes before {x}?",
    "What is the {u} before {x}?", "Tell me the {u} before {x}.",
]
AFTER = [
    "Which {u} comes after {x}?", "What {u} comes after {x}?", "What comes after {x}?",
    "What is the {u} after {x}?", "Which {u} follows {x}?", "Tell me the {u} after {x}.",
]
ANSWER_AS_JSON = [
    ' Answer as a JSON object with the key "answer".',
    ' Reply with a JSON object with the key "answer".', ' Use JSON with the key "answer".',
]
ANSWER_IN_A_WORD = [
    " Answer in one word.", " One word only.", " Answer with one word.", " Just one word, please.",
    " Reply with a single word.", " Use one word.",
]
TELL = [
    "What is {x}?", "Tell me {x}.", "Name {x}.", "What's {x}?", "Can you tell me {x}?", "Say {x}.",
]
WORD_IN_UPPER = [
    " Answer in one word, in upper case.", " One word in capital letters.",
    " Answer with one word in upper case.",
]
WORD_IN_LOWER = [' Answer in one word, in lower case.', ' One word in lower case letters.']
WORD_PREFIX = ['In one word: ', 'Answer in one word: ', 'One word answer: ', 'In one word, ']
JUST_NUMBER = [' Answer with a number.', ' Just the number.', ' Number only.']
HOW_MANY = ['How many {x}?', 'Tell me how many {x}.', 'Do you know how many {x}?']
REPEAT = [
    "Repeat the word {w} {t}.", "Say {w} {t}.", "Write {w} {t}.", "Repeat {w} {t}.",
    "Write the word {w} {t}.", 'Repeat "{w}" {t}.', 'Say the word "{w}" {t}.',
    "Please repeat {w} {t}.", "Can you say {w} {t}?",
]
UPPER = [
    "Write {w} in upper case.", 'Write "{w}" in upper case.', "Write {w} in capital letters.",
    "Put {w} in upper case.", "{w} in upper case, please.", "Convert {w} to upper case.",
    'Change "{w}" to capital letters.', "Upper case: {w}",
]
LOWER = [
    "Write {w} in lower case.", "Convert {w} to lower case.", 'Change "{w}" to small letters.',
    "Lower case: {w}", "Put {w} in lower case.",
]
REVERSE = [
    "Reverse this list: {l}", "Reverse the list {l}.", "Reverse the order of these words: {l}",
    "Write these words in reverse order: {l}", "Turn this list around: {l}", "Reverse: {l}",
    "Please reverse the list: {l}", "Give these words backwards: {l}",
]
PICK = [
    "What is the {p} word in this list: {l}?", "Which word is {p}: {l}?",
    "Give me the {p} word of: {l}", "Tell me the {p} item: {l}",
    "What is the {p} item of this list: {l}?",
]
COUNT_ITEMS = [
    "How many words are in this list: {l}?", "Count the words: {l}",
    "How many items are there: {l}?", "How many words are there: {l}?",
]
MAKE_BULLETS = [
    "Write these as a bulleted list: {l}", "Make a bulleted list of {l}.",
    "Put these into bullets: {l}", "Turn this into a bulleted list: {l}",
    "Use bullet points for: {l}", "Give me a bulleted list of these words: {l}",
]
RECORD = [
    "Write a JSON object with the keys {k}: {f}.", "Give me a JSON object with {k} for this: {f}.",
    "Make JSON with the keys {k} from: {f}.",
    "Answer with a JSON object with the keys {k}. The values are: {f}.",
    "Turn this into a JSON object: {f}.", "JSON please: {f}.",
]
SORT_NUMBERS = [
    "Sort these numbers: {l}", "Sort {l} from small to large.", "Put these numbers in order: {l}",
    "Order these numbers: {l}", "Sort the list {l}.",
]
