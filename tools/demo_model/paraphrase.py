"""Says a question about a thing, or a whole question, in other words.

Three means: frames around a name, other sentence forms of a question (direct, indirect, a wish, a
situation), and other words for single words. All are general; what is said of one topic alone is
in asking.py. A template may hold "[one|two|]": one of the parts is taken, the last here is empty.
"""

import random
import re

CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(rng: random.Random, template: str) -> str:
    """Takes one part of each bracket, innermost first."""
    while found := CHOICE.search(template):
        part = rng.choice(found[1].split("|"))
        template = template[: found.start()] + part + template[found.end() :]
    return re.sub(r"\s+", " ", template).strip()


# Frames around a name {x}.
ASK_POLITELY = "[Could you|Can you|Would you|Will you|Please|Would you mind to|Are you able to]"
EMBEDDED = (
    "[what {x} is|what {x} means|what is meant by {x}|what {x} does|what {x} is for|what {x} "
    "stands "
    "for|what to think of when I hear {x}|how {x} works|about {x}|why {x} is useful|why {x} exists|"
    "the idea behind {x}|the basics of {x}|the point of {x}|more about {x}|something about {x}]"
)
FRAMES = [
    ASK_POLITELY + " [tell me|explain|say|describe|show me|teach me|sum up|let me know] " + EMBEDDED
    + "[?| please?| in a few words?| to me?]",
    "[I want|I would like|I'd like|I need|I wish|I try|I am trying|It would help me] to "
    "[understand|learn|know|hear|see|find out|grasp] " + EMBEDDED + ".",
    "[I wonder|I am wondering|I am asking myself|I never understood|I am not sure|I forgot|It is "
    "unclear to me|Nobody told me|I have no idea|We do not know] [what {x} is|what {x} means|what "
    "{x} does|what {x} is for|how {x} works|why we have {x}|what the purpose of {x} is].",
    "[What|Which] [purpose|role|job|task|function|use|benefit|effect|value] [does {x} have|has "
    "{x}|does {x} serve]?",
    "[What is|What's|Explain|Describe|Tell me|Name|State|Give me|Say] the [purpose|role|job|task|"
    "function|point|use|benefit|meaning|definition|idea|aim|main idea|principle|effect|reason] "
    "[of|behind|of|of] {x}[?|.]",
    "[Why|For what|To what end|For which purpose|Why on earth|Why exactly] [is there|do we need|do "
    "people use|would I use|would anyone use|does one need|do we have|do servers have|do you have|"
    "do engineers want|should I know|should I use] {x}?",
    "[How|In which way|In what way|How exactly|Just how] does {x} [work|help|function|behave|"
    "operate|do its work|help me|help a server|come in]?",
    "What [happens|goes on|takes place|is done|occurs|is going on|is happening] [in|during|with|"
    "inside|at] {x}?",
    "What [is special about|is good about|is interesting about|is new about|is useful about|is the "
    "matter with|is the story of|is the story with|characterizes|defines|makes up|is inside|is "
    "part of|is behind|belongs to|lies behind|is done by|is achieved by] {x}?",
    "If [somebody|someone|an engineer|the manual|a page|a friend|the text] [says|mentions|names|"
    "uses|speaks of] {x}, what [is it|is that|is this|should I think of|does it mean|is the "
    "idea|would that be]?",
    "{x}[: |, |? |. |; ][what is it|what is that|what's that|what does it mean|what does it do|"
    "meaning|definition|purpose|explanation please|explain|how does it work|what for|why|what "
    "would "
    "that be|what do I need to know|tell me|please explain it|what should I know|what is it "
    "for|what is it good for|never heard of it|a short explanation please][?|.||]",
    "[meaning|definition|purpose|role|explanation|description|use|idea|basics] [of|for|of] {x}[?||"
    "]",
    "[what is|whats|what's|explain|define|describe|about] {x}[| exactly| please| in simple words| "
    "for beginners| in general| again| really| then| actually| now| here]",
    "{x} [explained|meaning|definition|in simple words|for beginners|in short|basics|purpose|"
    "please|in a nutshell|overview|help]",
    "Is {x} [important|useful|needed|hard to understand|something good|a thing|worth knowing]? "
    "[What is it|Why|What does it do|How does it work|What for]?",
    "[In simple terms|In simple language|Without jargon|Roughly|Roughly speaking|Put simply|In "
    "general|Basically|In practice|Technically|For somebody new], [what is {x}|what does {x} mean|"
    "what does {x} do|what is {x} for|how does {x} work|why is there {x}|explain {x}]?",
    "What [sort|type|kind] of [thing|concept|idea|term] is {x}?",
    "What [would you call|do you call|do we call|is called|is understood by|does one understand "
    "by|is to be understood by|do experts mean by|can I imagine under] {x}?",
    "What should I [know about|understand by|think of as|say when asked about|remember about|tell "
    "my team about] {x}?",
    "[What does|What will|What can|What could] {x} [do|do for me|bring|bring me|give me|give us|"
    "mean|mean here|tell me|show|tell us|change|improve|achieve|stand for|help with|do in "
    "practice]?",
    "What {x} [is|is for|means|does|is about|is good for], [I do not know|that is my question|"
    "please|can you say]?",
    "[I am|We are] [reading about|confused by|curious about|interested in|learning about|new to|"
    "studying|looking at|unsure about|asked about|writing about] {x}. "
    "[What is it|What is it for|"
    "What does it do|Can you explain|Please explain|Could you help|How does it work|What does it "
    "mean|What should I know|What can you tell me]?",
    "[The log|A page|A blog|A paper|My boss|A friend|The chart|The manual|The screen|A graph|A "
    "slide|The report|A table|The config|An engineer|The panel|My teacher] [mentions|says|shows|"
    "names|speaks of|has|talks about|uses the word|contains|refers to|brings up|lists] {x}. [What "
    "is it|What is that|What is this|What does that mean|What does it say|What is meant|What does "
    "it do|What is it for|How do I read it|Can you explain|Explain it please|How should I "
    "understand it|What do I learn from it|What is it about|What kind of thing is it|Why is it "
    "there]?",
    "[I see|I saw|I found|I hear|I heard|I often hear|I read|I met|I came across|We have|Everybody "
    "mentions|They mentioned|They told me about|You mentioned|There is] {x} [somewhere|in the "
    "docs|in a talk|in the text|in a list|on a page|all the time|in the code|again||||]. "
    "[What is it|What is that|What is this|What does that mean|What is meant by it|What does it do|"
    "What is it for|Can you explain it|How should I understand it|Is it useful|Why is it there|"
    "What thing is it|What is behind it|What would it be]?",
]


def frame(rng: random.Random, name: str) -> str:
    template = rng.choice(FRAMES)
    # The bare name where the sentence has an article of its own, or the writer leaves it out.
    bare = name if rng.random() < 0.85 else re.sub(r"^(an?|the) ", "", name)
    text = expand(rng, template).replace("{x}", bare)
    return text[:1].upper() + text[1:] if rng.random() < 0.8 else text


# Other sentence forms of a whole question.
HOW_DO_I = (
    "[How can I|How would I|How could I|How should I|How might one|How does one|How do you|How do "
    "people|How do we|How to|What do I do to|What is the way to|What must I do to|What is needed "
    "to|What is the best way to|What do I have to do to|What are the steps to|Is there a way to|"
    "What command or step lets me|What lets me|Show me how to|Tell me how to|Please explain how "
    "to|Explain how to|Can you show me how to|Could you tell me how to|I want to know how to|I do "
    "not know how to|I would like to|I want to|I need to|I have to|I must|My task is to|My plan is "
    "to|We want to|Help me to|Help me] {r}[|. How?|. How does that go?|. What do I do?|. What now?|"
    ". Can you help?|. Which way is right?|. What is the way?]"
)
INDIRECT = (
    "[Tell me|Explain|Explain to me|Please tell me|Can you tell me|Could you explain|Do you know|I "
    "would like to know|I want to know|I wonder|I am not sure|It is unclear to me|Can you say|"
    "Could "
    "you say|Say|Please explain|Describe|Show me|I have to know|We were asked|Let me know|I do not "
    "understand|I don't see|I never understood|Any idea|Do you happen to know|Would you tell me|"
    "I need to explain|Remind me] {r}[.|?|]"
)
WHETHER = (
    "[Tell me whether|I wonder whether|I want to know whether|Do you know if|Can you tell me if|"
    "Could you say whether|I am not sure whether|Please tell me if|Is it true that|Is it so that|"
    "Is it right that|Someone said that|Would you say that|I heard that] {r}[.|?|. Is that so?|. "
    "Is that right?|. True?|]"
)
VERBS = (
    "work help mean stand cost use need run store keep save read write pick choose balance speak "
    "make come solve serve travel handle start print compute see touch consist have notice know "
    "move move talk exchange scale offer treat split enter limit turn become fit look gather sum "
    "measure show connect span bring raise differ change leave wait check account track find get "
    "send hold plan own stream die tell set depend happen collect shape drive cut recompute give "
    "stop say avoid guess speed return fail handle hear"
).split()
DOES = re.compile(rf"^(.*?)\b(does|do) (.+?) ({'|'.join(VERBS)})\b(.*)\?$")
IS = re.compile(
    r"^(How|Why|Where|When) (is|are) (.+?) "
    r"(\w+ed|kept|sent|cut|summed|split|built|chosen|made|written|found|held|done|several)\b(.*)\?$"
)


def third_person(verb: str) -> str:
    return {"have": "has", "do": "does"}.get(verb) or verb + (
        "es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s"
    )


def indirect(question: str) -> str | None:
    """ "How does X work?" as "how X works"; nothing where the form is not known."""
    if found := DOES.match(question):
        head, helper, subject, verb, rest = found.groups()
        if not head.strip():
            return None
        said = third_person(verb) if helper == "does" else verb
        return f"{head[:1].lower()}{head[1:]}{subject} {said}{rest}"
    if found := IS.match(question):
        word, helper, subject, state, rest = found.groups()
        return f"{word.lower()} {subject} {helper} {state}{rest}"
    subject = r"(What happens|Who|Which \w+ (?!do|is|are)\w+|What (starts|connects|limits))"
    if re.match(subject, question):
        return question[:1].lower() + question[1:].rstrip("?")
    return None


def statement(question: str) -> str | None:
    """ "Does X need Y?" as "X needs Y"."""
    if found := re.match(r"(Does|Do) (.+)\?$", question):
        inner = DOES.match("so " + question[:1].lower() + question[1:])
        if inner:
            _, helper, subject, verb, rest = inner.groups()
            return f"{subject} {third_person(verb) if helper == 'does' else verb}{rest}"
        return None
    subjects = "Trireme|I|replicas|you|a model|a replica|Python|the output|the traffic|the links"
    if found := re.match(rf"(Can|Is|Are|May|Will) ({subjects}) (.+)\?$", question):
        return f"{found[2]} {found[1].lower()} {found[3]}"
    return None


def other_form(rng: random.Random, question: str) -> str:
    """The question in another sentence form, where one is known."""
    if found := re.match(r"How (?:do|can) (?:I|you|we) (.+)\?$", question):
        return expand(rng, HOW_DO_I).replace("{r}", found[1])
    if found := re.match(r"Why (is|are|does|do|would|quantize|batch|run|have)\b(.+)\?$", question):
        if rng.random() < 0.5:
            start = "[What is the reason: why|How come|What for|Why exactly|To what end]"
            return expand(rng, start) + f" {found[1]}{found[2]}?"
    if found := re.match(r"What is the (.+?) of (.+)\?$", question):
        if rng.random() < 0.6:
            form = rng.choice([
                "Which {a} does {b} have?", "What {a} does {b} have?", "{b}: what is its {a}?",
                "Tell me the {a} of {b}.", "I want to know the {a} of {b}.", "Name the {a} of {b}.",
                "What would you say is the {a} of {b}?", "{a} of {b}?", "the {a} of {b}",
            ])
            text = form.format(a=found[1], b=found[2])
            return text[:1].upper() + text[1:]
    if (rest := statement(question)) and rng.random() < 0.8:
        return expand(rng, WHETHER).replace("{r}", rest)
    if (rest := indirect(question)) and rng.random() < 0.8:
        text = expand(rng, INDIRECT).replace("{r}", rest)
        return text[:1].upper() + text[1:]
    if found := re.match(r"(What|Which|How|Who|Where|When|Why)\b", question):
        starts = "So|And|Then|Now|Again|In general|Exactly|In Trireme|Normally|Usually|In a server"
        start = expand(rng, f"[{starts}|Say|Just|Tell me]")
        return f"{start}, {question[:1].lower()}{question[1:]}"
    return question


OTHER_WORDS = {
    "start": "launch|bring up|begin|boot|run", "starts": "launches|brings up|begins",
    "started": "launched|brought up|begun", "choose": "select|decide on|pick|take",
    "pick": "select|choose|decide on|find", "handles": "deals with|takes care of|does|serves",
    "handle": "deal with|take care of|cope with", "happens": "goes on|takes place|is done|occurs",
    "use": "employ|rely on|have|make use of", "used": "employed|needed", "useful": "good|helpful",
    "purpose": "aim|goal|point|task|use", "job": "task|duty|role|work|function",
    "benefit": "advantage|gain|use|point|profit",
    "dies": "fails|crashes|goes down|is killed|breaks",
    "crashes": "fails|dies|breaks|goes down|is killed", "fails": "crashes|dies|breaks|goes down",
    "lost": "gone|dead|down|broken", "computed": "calculated|worked out|found|determined",
    "fits": "goes into|fits into|is small enough for", "shows": "displays|tells|reports",
    "quickly": "fast|soon|in a minute", "quickest": "fastest|easiest|simplest|shortest",
    "several": "many|multiple|more than one|two or three",
    "parts": "components|elements|modules|units", "components": "parts|elements|modules|blocks",
    "need": "require|have to have|want", "required": "needed|necessary|a must",
    "request": "query|call|question", "run": "work|operate|go",
    "laptop": "notebook|home computer|small computer|computer", "machine": "computer|box|host",
    "talk": "speak|write|send messages", "talks": "speaks|listens",
    "notice": "detect|find out about|see", "install": "set up|deploy|put",
    "deploy": "install|set up|roll out", "large": "big|huge|great", "big": "large|huge",
    "cost": "price|expense", "costs": "prices|expenses", "slow": "not fast|sluggish",
    "faster": "quicker|speedier", "measure": "test|find out|determine",
    "split": "divided|cut|spread", "splits": "divides|cuts|spreads",
    "answer": "reply|response|output", "answers": "replies|responses",
    "written": "coded|programmed|implemented|made", "stored": "saved|kept|held",
    "kept": "held|stored|saved", "store": "hold|keep|contain|save", "contain": "hold|have|store",
    "phase": "stage|part|step", "plans": "schedules|decides|organizes",
    "decides": "determines|chooses|says", "owns": "has|keeps|holds",
    "holds": "keeps|has|stores|carries", "responsible": "in charge|there",
    "stop": "end|halt|finish", "tell": "say", "tracked": "counted|recorded|followed",
    "booked": "recorded|written down|noted", "encrypted": "protected|secret|secured",
    "communicate": "talk|exchange messages|speak", "connects": "links|joins|ties",
    "exchange": "share|swap|pass on", "supports": "has|allows|knows", "support": "have|allow|know",
    "which": "what", "speed": "pace|rate", "memory": "RAM|space", "save": "spare|reduce",
    "kind": "type|sort|form", "look": "see|peek", "model": "language model|LLM",
    "tokens": "pieces of text", "text": "words",
}


def other_words(rng: random.Random, question: str, share: float = 0.35) -> str:
    """Single words replaced by others that mean much the same."""
    said = []
    for word in question.split(" "):
        core = word.strip("?.,!").lower()
        if core in OTHER_WORDS and rng.random() < share:
            other = rng.choice(OTHER_WORDS[core].split("|"))
            other = other[:1].upper() + other[1:] if word[:1].isupper() else other
            word = other + word[len(core) :]
        said.append(word)
    return " ".join(said)


def reword(rng: random.Random, question: str) -> str:
    """A topic's own question: as written, or in another form, or with other words, or both."""
    text = expand(rng, question) if "[" in question else question
    if rng.random() < 0.45:
        text = other_form(rng, text)
    if rng.random() < 0.45:
        text = other_words(rng, text)
    return text
