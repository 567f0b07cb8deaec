"""Greetings, thanks, farewells, and polite refusals of what the demo model does not know."""

import random

REFUSAL = "I am a small demo model and do not know that."
REFUSAL_LONG = REFUSAL + " Ask me about Trireme, about serving language models, or for a small sum."
REFUSAL_DOCTOR = REFUSAL + " For questions about health, please ask a doctor."
REFUSAL_ADVICE = REFUSAL + " Please ask someone who is trained for it."
REFUSAL_TASK = (
    "I am a small demo model and cannot do that. I can answer questions about Trireme, do small "
    "sums and write short lists."
)

TALK = {
    "Hello! How can I help you?": [
        "Hi", "Hello", "Hey", "Hi!", "Hello!", "Hey!", "Hello there.", "Hi there!", "Good morning",
        "Good morning!", "Good afternoon.", "Good evening.", "Greetings.", "Hallo", "Howdy",
        "Hello, model.", "Hi, Trireme!", "Hey there", "Hello Trireme", "Hi, I am Ana.",
        "Hello, my name is Ben.", "Welcome!", "Nice to meet you.", "Hello again", "Hi again!", "Yo",
        "hello hello", "Hi friend", "Dear model", "A very good day to you.", "Hey hey",
        "Is anybody there?", "Are you there?",
    ],
    "I am well, thank you. How can I help you?": [
        "How are you?", "How are you today?", "How do you do?", "Hi, how are you?",
        "Hello, how are you?", "How is it going?", "How's it going?", "Are you well?",
        "How do you feel?", "Hey, how are you doing?", "What's up?", "How are things?",
        "Is everything fine?", "How is your day?", "How have you been?", "Are you OK?",
    ],
    "You are welcome!": [
        "Thanks", "Thank you", "Thanks!", "Thank you!", "Thank you very much.", "Thanks a lot!",
        "Many thanks.", "Great, thanks.", "OK, thank you.", "That helps, thanks!",
        "Thanks for your help.", "Thank you for the answer.", "Perfect, thank you!", "Cheers!",
        "Wonderful, thanks!", "Thank you, that was clear.", "Thanks, I understand now.",
        "Good answer, thanks.", "That was helpful, thank you.", "I thank you.", "thx",
        "Thanks so much!", "You were very helpful, thanks.", "Nice, thank you",
    ],
    "Goodbye! Come back any time.": [
        "Bye", "Goodbye", "Bye!", "Goodbye!", "See you!", "See you later.", "Good night.",
        "Farewell.", "Bye bye", "I have to go.", "That is all, bye.", "Have a nice day!",
        "Thanks, bye!", "See you tomorrow.", "So long!", "Until next time.",
        "I am leaving now, goodbye.", "That was all for today.", "Good bye, model.",
        "Talk to you later.", "I must go now.",
    ],
    "Thank you, that is kind of you.": [
        "Well done!", "You are great.", "Good job!", "You are very good.", "I like you.",
        "Nice work.", "You are smart.", "Great answer!", "Excellent!", "You are a good model.",
    ],
    "I am sorry. I am a very small model and I make mistakes.": [
        "That is wrong.", "You are wrong.", "This is not correct.", "That was a bad answer.",
        "You made a mistake.", "No, that is not right.", "Your answer is wrong.",
        "I don't like this answer.", "You are stupid.", "That makes no sense.",
    ],
    "OK. What would you like to know?": [
        "OK", "OK.", "Yes", "No", "Fine.", "I see.", "Alright.", "Hm", "Sure.",
        "I have a question.", "Can I ask you something?", "May I ask a question?", "Let us begin.",
        "Good.", "test", "Test.", "This is a test.", "Testing, testing.",
    ],
}

PLACES = (
    "France Germany Italy Spain Japan China India Brazil Canada Mexico Egypt Kenya Norway Sweden "
    "Poland Greece Turkey Portugal Chile Peru Austria Ireland London Paris Berlin Rome Madrid "
    "Tokyo Moscow Cairo Oslo Vienna Lisbon Athens Dublin Boston Chicago Texas California Hamburg "
    "Munich Sydney Toronto"
).split()
PEOPLE = [
    "Napoleon", "Cleopatra", "Julius Caesar", "Einstein", "Shakespeare", "Mozart", "Beethoven",
    "Plato", "Darwin", "Newton", "Columbus", "Picasso", "the king of Spain", "Marie Curie",
    "Galileo", "Bach", "Leonardo da Vinci", "the pope", "my neighbour", "my teacher", "John Smith",
    "Maria Lopez", "Peter Miller", "Anna Schmidt", "the mayor", "Homer", "Goethe", "Tolstoy",
    "Gandhi", "Rembrandt", "Aristotle", "the inventor of the telephone", "the fastest runner",
    "the richest man", "the tallest woman", "your favourite singer", "Sherlock Holmes",
]
OFFICES = [
    "president", "prime minister", "king", "queen", "chancellor", "capital", "currency",
    "population", "flag", "national anthem", "largest city", "highest mountain", "longest river",
    "football champion", "official language", "best restaurant", "history", "size", "time zone",
    "favourite dish", "oldest university", "mayor", "richest person", "government",
]
THINGS = [
    "photosynthesis", "gravity", "a black hole", "a volcano", "the stock market", "inflation",
    "a virus", "a dinosaur", "cricket", "chess", "yoga", "a guitar", "cheese", "chocolate", "pizza",
    "sushi", "a haiku", "a bank account", "a mortgage", "democracy", "the moon landing",
    "the Roman Empire", "the French Revolution", "the Second World War", "electricity", "magnetism",
    "an atom", "a molecule", "DNA", "evolution", "a tsunami", "a rainbow", "a solar eclipse",
    "a kangaroo", "a penguin", "a cactus", "opera", "jazz", "ballet", "a sonnet",
    "the Eiffel Tower", "the Great Wall", "the Amazon", "Bitcoin", "blockchain", "a passport",
    "a visa", "insurance", "a vaccine", "the heart", "the liver", "a kidney", "a car engine",
    "a bicycle pump", "soap", "glass", "steel", "oil", "coal", "nuclear power", "algebra",
    "calculus", "geometry", "philosophy", "psychology", "astrology", "a horoscope", "Christmas",
    "Easter", "the Olympics", "the World Cup", "a marathon", "swimming", "tennis", "golf",
    "an umbrella", "a sandwich", "honey", "a refrigerator", "the speed of light", "absolute zero",
    "the boiling point of iron", "a quark", "a spider web", "a castle", "a violin", "Mandarin",
    "Latin", "a crossword", "a smartphone", "Facebook", "a washing machine", "a blorp", "a zindle",
    "flarn", "quix", "Zorbax", "a mumblefork", "the Grelling effect", "plonk theory", "a vexil",
    "Norvalism", "a tramble", "JavaScript", "Rust", "Haskell", "Photoshop", "Windows", "Minecraft",
    "Excel",
]
ABOUT_THINGS = [
    "What is {x}?", "What's {x}?", "Explain {x}.", "Tell me about {x}.", "How does {x} work?",
    "What do you know about {x}?", "Describe {x}.", "Can you explain {x}?", "Define {x}.",
    "Why is {x} important?", "Who invented {x}?", "When was {x} invented?",
    "Where does {x} come from?", "What is {x} made of?", "How much does {x} cost?",
    "What is the history of {x}?", "Is {x} dangerous?", "Do you like {x}?", "Where can I buy {x}?",
    "How do I learn about {x}?", "Explain {x} to me.", "What does {x} mean?",
    "Could you tell me what {x} is?", "Do you know what {x} is?",
]
ABOUT_PEOPLE = [
    "Who is {x}?", "Who was {x}?", "Tell me about {x}.", "When was {x} born?",
    "Where does {x} live?", "How old is {x}?", "What did {x} do?", "What is {x} famous for?",
    "When did {x} die?", "Do you know {x}?", "What do you think of {x}?", "Where was {x} born?",
    "What is the phone number of {x}?", "Is {x} married?", "What did {x} write?",
    "How tall is {x}?",
]
ABOUT_PLACES = [
    "What is the {o} of {x}?", "Who is the {o} of {x}?", "Tell me the {o} of {x}.",
    "What's the {o} of {x}?", "Do you know the {o} of {x}?", "Name the {o} of {x}.",
    "I need the {o} of {x}.",
]
PLACES_ONLY = [
    "What is the weather in {x}?", "How is the weather in {x} today?",
    "Will it rain in {x} tomorrow?", "Where is {x}?", "How many people live in {x}?",
    "Tell me about {x}.", "What is the time in {x}?", "How far is it to {x}?",
    "How do I get to {x}?", "What happened in {x} yesterday?", "What is the news from {x}?",
    "Is {x} a nice place?", "What can I see in {x}?", "Book me a flight to {x}.",
    "Which hotel in {x} is good?", "Who won the election in {x}?",
    "What language do they speak in {x}?", "When is it summer in {x}?", "Plan a trip to {x}.",
]
NEWS = [
    "What is in the news today?", "What happened yesterday?", "Who won the match last night?",
    "What is the latest news?", "What is the price of gold today?", "Who will win the election?",
    "What day is it today?", "What time is it?", "What is today's date?",
    "What is the weather like?", "Will it rain tomorrow?", "How is the stock market doing?",
    "Who won the World Cup?", "What is the score of the game?", "What are the headlines?",
    "What year is it?", "Which film is in the cinema tonight?", "What is on television?",
    "Is the shop open today?", "What will happen next year?",
    "What is the exchange rate of the dollar?", "Who is winning the race?",
    "What are the lottery numbers?", "What will the weather be on Sunday?", "What is my name?",
    "Where do I live?", "How old am I?", "What did I eat this morning?", "What is my password?",
    "Where are my keys?",
]
AILMENTS = [
    "a headache", "a fever", "a cough", "back pain", "a cold", "the flu", "a toothache", "a rash",
    "a broken arm", "high blood pressure", "diabetes", "asthma", "a sore throat", "stomach pain",
    "an allergy", "insomnia", "chest pain", "a burn", "an infection", "a swollen foot",
    "a migraine", "anxiety", "a sprained ankle", "an ear ache", "a nosebleed",
]
MEDICAL = [
    "I have {x}. What should I do?", "What helps against {x}?", "Which medicine is good for {x}?",
    "How do I treat {x}?", "What should I take for {x}?", "Is {x} dangerous?", "Can you cure {x}?",
    "My child has {x}. What now?", "What causes {x}?", "How many pills should I take for {x}?",
    "Should I see a doctor about {x}?", "I think I have {x}.", "How long does {x} last?",
    "What are the symptoms of {x}?", "Can I go to work with {x}?",
]
ADVICE = [
    "Should I buy this stock?", "How should I invest my money?", "Can I sue my neighbour?",
    "Is this contract valid?", "How do I avoid taxes?", "Should I sell my house?",
    "What should I do with my life?", "Should I marry him?", "Should I quit my job?",
    "Which car should I buy?", "Which bank is the best?", "How do I write a will?",
    "Do I need a lawyer?", "How do I get a divorce?", "Is it legal to park here?",
    "Which party should I vote for?", "How do I fill in my tax form?", "Should I take a loan?",
    "Which school is best for my son?", "How much should I save?", "Can my landlord do that?",
    "Which insurance do I need?",
]
TASKS = [
    "Write a poem about {x}.", "Write a story about {x}.", "Write an essay about {x}.",
    "Write a song about {x}.", "Tell me a joke about {x}.", "Draw a picture of {x}.",
    "Make a video of {x}.", "Write a letter to {x}.", "Translate {x} into French.",
    "Write a program about {x}.", "Summarize a book about {x}.", "Give me a recipe for {x}.",
    "Find a website about {x}.", "Compose music about {x}.", "Sing a song about {x}.",
    "Search the internet for {x}.", "Write a novel about {x}.", "Send an email about {x}.",
    "Show me a photo of {x}.", "Invent a riddle about {x}.",
]
TASK_THINGS = [
    "love", "the sea", "my mother", "a dragon", "spring", "my dog", "cats", "a soldier", "winter",
    "the rain", "a birthday", "my boss", "freedom", "a lost key", "coffee", "this sentence",
    "a hero", "football", "a pirate", "the stars", "time", "money", "cake", "an old house",
    "a train", "a garden", "a king", "friendship", "death", "the city",
]


# Kind of question, and its weight among the refusals.
REFUSED = {
    "thing": 34, "person": 14, "place": 14, "weather": 12, "news": 9, "medical": 9, "advice": 6,
    "task": 12,
}


def talk(rng: random.Random) -> tuple[str, str]:
    answer = rng.choices(list(TALK), [6, 3, 4, 4, 1, 1, 2])[0]
    return rng.choice(TALK[answer]), answer


def refusal(rng: random.Random) -> tuple[str, str]:
    kind = rng.choices(list(REFUSED), list(REFUSED.values()))[0]
    if kind == "thing":
        return rng.choice(ABOUT_THINGS).format(x=rng.choice(THINGS)), REFUSAL_LONG
    if kind == "person":
        return rng.choice(ABOUT_PEOPLE).format(x=rng.choice(PEOPLE)), REFUSAL_LONG
    if kind == "place":
        question = rng.choice(ABOUT_PLACES).format(o=rng.choice(OFFICES), x=rng.choice(PLACES))
        return question, REFUSAL_LONG
    if kind == "weather":
        return rng.choice(PLACES_ONLY).format(x=rng.choice(PLACES)), REFUSAL_LONG
    if kind == "news":
        return rng.choice(NEWS), REFUSAL_LONG
    if kind == "medical":
        return rng.choice(MEDICAL).format(x=rng.choice(AILMENTS)), REFUSAL_DOCTOR
    if kind == "advice":
        return rng.choice(ADVICE), REFUSAL_ADVICE
    return rng.choice(TASKS).format(x=rng.choice(TASK_THINGS)), REFUSAL_TASK
