"""Ways to ask for lists, words and formats: the templates of words_skill."""

ALL_OF = [
    "I would like {x}.", "Can you tell me {x}?", "Could you give me {x}?", "What are all {x}?",
    "Do you know all {y}?", "Which {y} are there?", "Show me {x}.", "I want to know {x}.",
    "What are {x}?", "List {x}.", "Name {x}.", "Tell me {x}.", "Write {x}.", "Give me {x}.",
    "Can you list {x}?", "Can you name {x}?", "Name all {y}.", "List all {y}.", "Please list {x}.",
    "Which are {x}?", "Give me a list of {x}.", "Write a list of {x}.", "Write down {x}.",
    "Enumerate {x}.", "Say {x} in order.", "I need a list of {x}.", "Do you know {x}?",
    "Could you list {x}?",
    "[Please|Can you|Could you|Would you|I ask you to] [recite|write|say|go through|print|repeat|"
    "show|read out|spell out|type] {x}[?|.| for me.| please.]",
    "[I need|I want to see|I am looking for|I forgot|I want to hear|Remind me of|My child must "
    "learn|Help me with|Let me see|I have to learn|We need] {x}[.|, please.|. Can you list them?|. "
    "What are they?]",
    "[Which|What] {y} [exist|are there in all|do we have|do people count|do you know|are known]?",
    "[How|In which order] do {x} go?", "[{x}|{y}]", "{x}, please.", "What {y} do you know?",
    "[All|The full list of|The complete list of|A list with] {y}[|, please|?]",
]
# Other names of a whole list, and questions whose form is its own.
LIST_NAMES = {
    "the days of the week": [
        "the [seven |]days [in|of] a week", "the days from Monday [on|to Sunday]",
        "all [seven |]days of the week", "the week's days", "the names of the days",
    ],
    "the months of the year": [
        "the [twelve |]months[| of a year| in a year]", "all [twelve |]months[| of the year]",
        "the months from January [on|to December]", "the names of the months", "the year's months",
        "the months in [the right|their|calendar] order",
    ],
    "the seasons": [
        "the [four |]seasons of [the|a] year", "all [four |]seasons", "the seasons from spring on",
        "the year's seasons", "the names of the seasons",
    ],
    "the planets": [
        "the [eight |]planets of [the|our] solar system", "all [eight |]planets",
        "the planets [around|near|that circle] the Sun", "the planets from Mercury [on|to Neptune]",
        "the planets from the Sun [outwards|on]", "the planets from the inside to the outside",
        "the names of the planets", "the planets, nearest [to the Sun |]first",
    ],
    "the colours of the rainbow": [
        "the [seven |]colours of [a|the] rainbow", "the rainbow colours", "the rainbow's colours",
        "all colours [in|of] [a|the] rainbow", "the colours from red to violet",
    ],
    "the vowels": [
        "the [five |]vowels[| of the alphabet| of English| in English]", "all [five |]vowels",
        "the letters that are vowels", "the vowel letters", "the alphabet's vowels",
    ],
    "the weekdays": ["the working days", "all weekdays", "the days from Monday to Friday"],
    "the primary colours": ["the three primary colours", "all primary colours"],
    "the continents": ["the [seven |]continents[| of the Earth]", "all continents"],
    "the oceans": ["the [five |]oceans[| of the Earth| of the world]", "all oceans"],
    "the five senses": ["the senses", "all five senses", "our senses", "the human senses"],
    "the letters of the alphabet": ["the alphabet", "all letters", "the ABC", "the letters A to Z"],
    "the directions of the compass": ["the four directions", "the points of the compass"],
}
LIST_QUESTIONS = {
    "the days of the week": [
        "[Which|What] days [make up|form|are in|belong to] [a|the|one] week?",
        "[How are the days of a week called|What are the days called]?",
        "[What|Which] days come [between Monday and Sunday|in a week]?",
    ],
    "the months of the year": [
        "[Which|What] months [make up|form|are in|belong to|has] [a|the|one] year?",
        "[How are the months called|What are the months called|How do the months go]?",
        "[From January to December: which months are there|Into which months is a year divided]?",
    ],
    "the seasons": [
        "[Which|What] seasons [make up|form|are in|belong to|has|are there in] [a|the|one] year?",
        "[Into which seasons is a year divided|How are the seasons called|How do the seasons go]?",
    ],
    "the planets": [
        "[Which|What] planets [go around|circle|orbit|surround|move around] [the Sun|our Sun]?",
        "[Which|What] planets [are in|belong to|has|form] [the|our] solar system?",
        "[Start|Begin] [with Mercury|near the Sun|with the innermost] and [list|name|say] the "
        "[planets|other planets].",
    ],
    "the colours of the rainbow": [
        "[Which|What] colours [make up|form|are in|belong to|can I see in|do I see in] [a|the] "
        "rainbow?",
        "[A rainbow has which colours|What colours has a rainbow|How is a rainbow coloured]?",
    ],
    "the vowels": [
        "[Which|What] letters are [vowels|the vowels|called vowels]?",
        "[Which vowels does the alphabet have|What vowels does English have]?",
    ],
    "the continents": ["[Which|What] continents [has the Earth|are on the map]?"],
    "the five senses": ["[Which|What] senses [do we have|has a human|do people have]?"],
    "the parts of Trireme": ["[What|Which] three parts [does Trireme have|make Trireme]?"],
}
SOME_OF = [
    "I would like {n} {x}.", "Can you give me {n} {x}?", "Could you name {n} {x}?",
    "Show me {n} {x}.", "I want {n} {x}.", "Say {n} {x}.",
    "Name {n} {x}.", "List {n} {x}.", "Give me {n} {x}.", "Tell me {n} {x}.", "Write {n} {x}.",
    "Can you name {n} {x}?", "Please name {n} {x}.", "Can you list {n} {x}?", "What are {n} {x}?",
    "Give {n} examples of {x}.", "Give me a list of {n} {x}.", "I need {n} {x}.",
    "Think of {n} {x}.", "Could you give me {n} {x}?", "Write a list of {n} {x}.",
    "[Please|Can you|Could you|Would you|Will you] [tell me|say|think up|come up with|find|give "
    "me|mention|show me|write|suggest|pick] {n} [|different |random |common ]{x}[?|.| for me.| "
    "please.]",
    "[I want to hear|I'd like|I'd like to see|I am looking for|I want to see|Let me hear|Let me "
    "have|Let me see|We need|Show|Just name|Quickly name|Just give me] {n} {x}[.|, please.|!|]",
    "[Which|What] {n} {x} [do you know|come to mind|can you name|would you name]?",
    "[Do you know|Do you have|Any] {n} {x}[?| for me?]", "{n} {x}[| please|, please.|?|.]",
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
    "[Make|Create|Show me|I need|I want|Print|Please write] a [bulleted|bullet] list [of|with] {n} "
    "{x}.",
    "[Give me|Show|Write|Say|Tell me] {n} {x} [as bullets|in bullets|as a bullet list|with "
    "bullets|as a bulleted list].",
    "[Use bullets|With bullets|As a bulleted list|In a bulleted list]: {n} {x}.",
]
BEFORE = [
    "Which {u} comes before {x}?", "What {u} comes before {x}?", "What comes before {x}?",
    "What is the {u} before {x}?", "Tell me the {u} before {x}.",
    "[It is|Today is|We have|Take] {x}. [What|Which {u}] [was before|came before it|came before]?",
    "[Which {u}|What] [is right before|precedes|comes just before|stands before] {x}?",
]
AFTER = [
    "Which {u} comes after {x}?", "What {u} comes after {x}?", "What comes after {x}?",
    "What is the {u} after {x}?", "Which {u} follows {x}?", "Tell me the {u} after {x}.",
    "[It is|Today is|Now it is|We have|Take|I am at] {x}. [What|Which {u}] [is next|comes next|"
    "follows|will be next|comes then]?",
    "[Which {u}|What] [is right after|is next after|comes just after|stands after|succeeds] {x}?",
    "[After|Behind] {x}, [which {u}|what] [is next|comes|follows]?",
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
    "Do you know {x}?", "Give me {x}.", "What would you say is {x}?", "I need {x}.",
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
