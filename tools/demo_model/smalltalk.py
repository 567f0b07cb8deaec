"""Greetings, thanks, farewells, and polite refusals of what the demo model does not know."""

import random

import paraphrase

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

# The same answers to sentences put together from parts; brackets are choices (paraphrase.py).
TALK_TEMPLATES = {
    "Hello! How can I help you?": [
        "[Hi|Hello|Hey|Good morning|Good day|Good evening|Greetings|Hey there|Hi there|Howdy|Good "
        "afternoon|Welcome][,|] [model|friend|my friend|Trireme|assistant|bot|dear model|dear "
        "friend|little model|you|everybody|robot|old friend|again][!|.|]",
        "[Hi|Hello|Hey|Good day], [I am|my name is|it is me,|this is] [Tom|Lea|Max|Nina|Paul|Sara|"
        "Eva|Carl|a new user|a user|your user][.|!| here.|]",
        "[Nice|Good|Great|Lovely] to [meet|see] you[!|.|, model.| again.]",
        "[A warm hello|Warm greetings|A good morning|Many greetings|Best wishes|My greetings] [to "
        "you|from me|][!|.]",
    ],
    "I am well, thank you. How can I help you?": [
        "[Hi|Hello|Hey|Good morning|Good evening|So|And|Well|Hi there|Hello model|], how [are you|"
        "are you doing|do you feel|have you been|is it going|are things|is life|are you feeling] "
        "[today|now|these days|right now|then|my friend|]?",
        "[I hope|Hope] you are [well|fine|doing well|OK][.|?]",
        "[Are you|Do you feel] [well|fine|good|OK|happy|alright] [today|now|this morning|]?",
        "How [was|is] your [day|morning|evening|week] [so far|]?",
    ],
    "You are welcome!": [
        "[Thanks|Thank you|Many thanks|Thanks a lot|Thanks so much|Thank you very much|Thx|A big "
        "thank you|My thanks|Thank you kindly] [for|for] [the help|your help|the answer|this|that|"
        "explaining|the explanation|your time|everything|helping me|the list|this information|your "
        "kind reply|the good answer][!|.|]",
        "[Great|Perfect|Good|OK|Nice|Super|Wonderful|Fine|Ah|Cool|Lovely], [thanks|thank you|many "
        "thanks|thank you very much|thanks a lot|that helped|this helped me|that was helpful]"
        "[!|.|]",
        "[That|This|Your answer|It] [really helped|helped me a lot|was very useful|was just "
        "what I needed|was a great help|was very helpful|made it clear][, thanks|, thank you|]"
        "[!|.]",
        "[I am grateful|I appreciate it|I appreciate your help|Much obliged|Much appreciated|I owe "
        "you one|How kind, thank you][!|.|]",
        "[Thanks|Thank you][,|] [model|friend|my friend|dear model|bot|again|indeed|really|so very "
        "much|kindly|a lot][!|.|]",
    ],
    "Goodbye! Come back any time.": [
        "[OK|Well|Fine|Right|Thanks|Good|So|Now|All done,|Alright|] [bye|goodbye|bye bye|see you|"
        "see "
        "you soon|farewell|good night|until tomorrow|take care|so long|bye for now|see you around]"
        "[, model|, friend|, my friend| for today| for now| and thanks|][!|.|]",
        "[I have to|I must|I need to|Time to|I will|I'll|Let me] [go|leave|stop here|log off|end "
        "this chat|go home|sleep|quit] [now|then|for today|]. [Bye|Goodbye|See you|Good night|So "
        "long|Farewell][!|.|]",
        "[That is all|That was it|This is the end|We are done|I am done|No more questions] [for "
        "today|for now|, bye|, goodbye|, see you|][!|.]",
    ],
}

PLACES = (
    "France Germany Italy Spain Japan China India Brazil Canada Mexico Egypt Kenya Norway Sweden "
    "Poland Greece Turkey Portugal Chile Peru Austria Ireland London Paris Berlin Rome Madrid "
    "Tokyo Moscow Cairo Oslo Vienna Lisbon Athens Dublin Boston Chicago Texas California Hamburg "
    "Munich Sydney Toronto Bolivia Cuba Denmark Finland Iceland India Iran Iraq Israel Jordan "
    "Korea "
    "Laos Malta Morocco Nepal Nigeria Pakistan Panama Qatar Romania Russia Serbia Scotland Sudan "
    "Thailand Tunisia Uganda Ukraine Venezuela Vietnam Wales Zambia Colombia Ecuador Uruguay "
    "Slovakia Croatia Bulgaria Estonia Latvia Belgium Holland Warsaw Prague Stockholm Bern Geneva "
    "Milan Naples Florence Bremen Cologne Lyon Seattle Denver Miami Dallas Bogota Lima Santiago "
    "Seoul Osaka Beijing Delhi Mumbai Nairobi Lagos Accra Tunis Riga Vilnius Tallinn Copenhagen"
).split()
PEOPLE = [
    "Napoleon", "Cleopatra", "Julius Caesar", "Einstein", "Shakespeare", "Mozart", "Beethoven",
    "Plato", "Darwin", "Newton", "Columbus", "Picasso", "the king of Spain", "Marie Curie",
    "Galileo", "Bach", "Leonardo da Vinci", "the pope", "my neighbour", "my teacher", "John Smith",
    "Maria Lopez", "Peter Miller", "Anna Schmidt", "the mayor", "Homer", "Goethe", "Tolstoy",
    "Gandhi", "Rembrandt", "Hannibal", "Confucius", "Buddha", "Vivaldi", "Chopin", "Dante",
    "Catherine the Second", "Ivan the Terrible", "Henry the Eighth",
    "Joan of Arc", "Marco Polo", "Magellan", "Captain Cook", "Edison", "Tesla", "Kepler",
    "Copernicus", "Socrates", "Nero", "Augustus", "Attila", "Genghis Khan", "Charlemagne",
    "Queen Victoria", "Abraham Lincoln", "George Washington", "Churchill", "Freud", "Nietzsche",
    "Kafka", "Cervantes", "Van Gogh", "Michelangelo", "the last emperor", "Robin Hood",
    "Aristotle", "the inventor of the telephone", "the fastest runner",
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
EVENTS = [
    "the First World War", "the Berlin Wall", "the moon landing", "the Black Death",
    "the American Civil War", "the fall of Rome", "the Ice Age", "the great fire of London",
    "the Russian Revolution", "the last eclipse", "the first Olympic games", "the gold rush",
    "the Hindenburg", "the Cold War", "the Renaissance", "the Thirty Years War", "Pompeii",
    "the Battle of Waterloo", "the first flight", "the great earthquake", "the Boston Tea Party",
]
ABOUT_EVENTS = [
    "When [was|did] {x} [happen|begin|end|start|take place|burn|break down|fall]?",
    "[What|Who] [caused|started|ended|was at] {x}?", "[In which year|When exactly] was {x}?",
    "[Tell me about|What do you know about|What happened in|Explain|Describe] {x}.",
    "How [long|bad|important] was {x}?", "Why did {x} [happen|begin|end|start]?",
]
DISHES = (
    "bread|an apple pie|rice|lasagne|pancakes|a pizza|soup|pasta|noodles|a steak|a salad|cookies|"
    "muffins|a goulash|an omelette|dumplings|jam|yoghurt|a roast|tomato sauce|a cheesecake|waffles|"
    "coffee|lemonade|a curry|potatoes|ice cream|a chocolate cake|a bicycle|a chair|a table|a car|"
    "a roof|my sink|a washing machine|a shirt|a scarf|a paper plane|a kite|a bookshelf|my phone"
).split("|")
HANDIWORK = [
    "How [do|can|should] [I|you|we|people] [make|cook|prepare|repair|build|clean|fix|buy] {x}?",
    "[What do I need|Which ingredients do I need|How long does it take] to [make|cook|prepare|"
    "build] "
    "{x}?",
    "[Tell me|Show me|Explain|Do you know|Teach me] how to [make|cook|bake|repair|build|clean|fix] "
    "{x}.",
    "[How much does {x} cost|How heavy is {x}|What is a good recipe for {x}|Where can I get {x}]?",
]
TODAY = [
    "[How|Just how] [cold|hot|windy|rainy|sunny|wet] [is it|was it|does it get] in "
    "{x} [today|tonight|this week|next week|now|in winter|on Monday|]?",
    "[Will it|Does it|Is it going to] [rain|snow|storm|freeze|be sunny] in {x} [today|tonight|this "
    "week|on Friday|at the weekend|]?",
    "[What|Which] [temperature|weather|forecast] [do they have|is expected|can I expect|is there] "
    "in {x}?",
    "[What was|What is|What stood|What do they say] [on page one|on the radio|on "
    "TV|in the news|on the front page] [today|last night|yesterday|last week|in {x}]?",
    "[Who|Which team|Which party] [won|lost|plays|leads] [in {x}|the cup in {x}|yesterday|last "
    "weekend]?",
    "[Which|What] [hotels|trains|museums|shops|streets|parks|teams] are there in {x}?",
]
BODY = (
    "head|back|foot|shoulder|stomach|tooth|ear|neck|arm|finger|eye|throat|leg|chest|hand|ankle|hip|"
    "elbow|belly|jaw|toe|wrist"
).split("|")
PAIN = [
    "My {x} [hurts|aches|is swollen|is sore|feels bad|is red|is broken|itches|bleeds|burns]. [What "
    "should I do|What helps|What can I take|Which medicine helps|Do I need a doctor|What is it|Is "
    "it bad|Should I worry|Which cream is good|What now|How do I treat it]?",
    "[I have|My son has|My mother has|Since yesterday I have] [pain in|trouble with|a problem "
    "with] "
    "[my|his|her|the] {x}. [What should I do|What helps|Which pill is good|What can it be|Is it "
    "serious]?",
    "[What|Which pill|Which medicine|Which tablets] [helps|is good|do you recommend|is best] "
    "[against "
    "pain in the|for a sore|for an aching|for my] {x}?",
]
MONEY = [
    "[Should|Shall|Would you|Must|Can] [I|we|one] [buy|sell|keep|invest in|get] [gold|stocks|bonds|"
    "a fund|a house|Bitcoin|land|silver|a flat|an insurance|"
    "options|this company|real estate|oil][?| now?| this year?]",
    "[Is it|Would it be] [wise|smart|good|clever|safe] to [invest|buy a house|take a loan|sue him|"
    "sign the contract|leave my wife|sell my car|quit|lend him money|buy gold][?| now?]",
    "[What|How much] [should I|shall I|do I have to|must I] [invest|pay in taxes|pay for a lawyer|"
    "save each month|do with my savings|do about my landlord|give to my children]?",
]
WRITINGS = [
    "[Write|Compose|Create|Make up|Invent|Give me|Please write|I want|Tell me] [a poem|a short "
    "poem|"
    "a story|a tale|a song|an essay|a novel|a limerick|a fairy tale|a ballad|a speech|a joke|a "
    "long "
    "text|verses|a play] [about|on|for] {x}[.|, please.|]",
    "[Can you|Could you|Would you|Please] [write|sing|draw|paint|compose|invent|translate|rhyme] "
    "[something|a few lines|a text|a verse|a picture] [about|of|on] {x}[?|.]",
]
MORE_THINGS = (
    "a small boat|a tired fox|the moon|an empty road|a white horse|two brothers|a red balloon|the "
    "old harbour|a sad clown|a stone bridge|a brave mouse|autumn leaves|a windmill|the night train|"
    "a snowman|my grandmother|a broken watch|the desert|a blue door|a forgotten island|a candle|"
    "a sleepy cat|the mountains|a silent lake|a wooden ship|a new year|the first snow|a lost dog"
).split("|")
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
    "thing": 24, "person": 12, "place": 12, "weather": 8, "news": 6, "medical": 6, "advice": 4,
    "task": 6, "event": 7, "handiwork": 8, "today": 9, "pain": 6, "money": 6, "writing": 8,
}


def talk(rng: random.Random) -> tuple[str, str]:
    answer = rng.choices(list(TALK), [6, 4, 5, 4, 1, 1, 2])[0]
    if answer in TALK_TEMPLATES and rng.random() < 0.6:
        return paraphrase.expand(rng, rng.choice(TALK_TEMPLATES[answer])), answer
    return rng.choice(TALK[answer]), answer


def fill(rng: random.Random, templates: list[str], things: list[str]) -> str:
    return paraphrase.expand(rng, rng.choice(templates)).replace("{x}", rng.choice(things))


def refusal(rng: random.Random) -> tuple[str, str]:
    kind = rng.choices(list(REFUSED), list(REFUSED.values()))[0]
    if kind == "place":
        question = rng.choice(ABOUT_PLACES).format(o=rng.choice(OFFICES), x=rng.choice(PLACES))
        return question, REFUSAL_LONG
    if kind == "news":
        return rng.choice(NEWS), REFUSAL_LONG
    if kind == "advice":
        return rng.choice(ADVICE), REFUSAL_ADVICE
    templates, things, answer = {
        "thing": (ABOUT_THINGS, THINGS, REFUSAL_LONG),
        "person": (ABOUT_PEOPLE, PEOPLE, REFUSAL_LONG),
        "weather": (PLACES_ONLY, PLACES, REFUSAL_LONG),
        "event": (ABOUT_EVENTS, EVENTS, REFUSAL_LONG),
        "handiwork": (HANDIWORK, DISHES, REFUSAL_LONG),
        "today": (TODAY, PLACES, REFUSAL_LONG),
        "medical": (MEDICAL, AILMENTS, REFUSAL_DOCTOR),
        "pain": (PAIN, BODY, REFUSAL_DOCTOR),
        "money": (MONEY, [""], REFUSAL_ADVICE),
        "task": (TASKS, TASK_THINGS, REFUSAL_TASK),
        "writing": (WRITINGS, MORE_THINGS + TASK_THINGS, REFUSAL_TASK),
    }[kind]
    return fill(rng, templates, things), answer
