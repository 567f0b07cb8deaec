"""More ways to ask for single topics: wishes, situations, key words, other words.

Each key is the first name of a topic, or its first question where it has no name. Brackets are
choices, as in paraphrase.py.
"""

from asking_operation import OPERATION_WAYS

PART_WAYS = {
    "Trireme": [
        "[What|Which] [sort|type|category|class] of [program|product|system|tool|server|thing] "
        "is [Trireme|this project|this]?",
        "[When|Why|In which case|In which situation|For whom] [is|would|should I use|would I "
        "need|do people need|does it make sense to use] Trireme[| useful| be useful]?",
        "[Sum up|Summarize|Summary of|Introduction to|Present|A short introduction to|Pitch|Sell "
        "me] Trireme[| please| in a few words| for a manager].",
        "[What|Which] [problem|need|gap|task] [does Trireme address|is Trireme made for|was "
        "Trireme made for|is solved by Trireme|does Trireme take care of]?",
        "[Who needs|Who uses|Who would want|What is the use of|What do people do with|What "
        "makes] Trireme?",
        "[I have never heard of|I just found|I just cloned|I am new to] [Trireme|this project]. "
        "[What is it|What does it do|What is it for|Why would I want it]?",
        "[Is Trireme a|So Trireme is a] [database|model|web server|server|library|compiler|"
        "training tool|chat bot|language model]?",
    ],
    "a trireme": [
        "[Why|How come|For which reason] [was|is] [this name|the name Trireme|that name|such a "
        "name] [chosen|taken|picked|used|given]?",
        "[Who|What] [gave|inspired] [Trireme its name|the name Trireme|the name of this project]?",
        "[Origin|Meaning|Story|Explanation] of the [name|name Trireme|project name][|?|.]",
        "[What|Which] [does an ancient ship|do ships|do oars|does a boat|do banks of oars] have "
        "to do with [Trireme|this project|this server]?",
        "[Is Trireme|Was a trireme|Is a trireme] [a ship|a boat|something with oars|an old ship]?",
        "[What is|Where is] the [name|word] [Trireme|of the project] [from|about|taken from]?",
        "[Tell me|I would like to know|Can you tell me|Do you know] [where the name is from|why "
        "it is called that|why this is called Trireme|where the word Trireme comes from].",
        "Which [ship|boat] [gave|lends|gives] [the project|Trireme|it] its name?",
    ],
    "Who are you?": [
        "[So|Well|Hm|Say|Hello], [who|what] are you[| exactly| anyway| really]?",
        "[Who|What] am I [talking|speaking|writing|chatting] [to|with][| here| now]?",
        "[Who|What] is [this|there|answering|speaking|on the other side|behind this chat|writing "
        "these answers]?",
        "[May I|Can I|Could I] [ask|know|learn] [who you are|what you are|your name|who I am "
        "talking to]?",
        "[Are you|Is this] [a bot|a machine|an AI|a person|GPT|Claude|Llama|a real person|a "
        "program|a neural network|a big model|a chat bot]?",
        "[Do you have|What about|Say|State|I do not know|Tell me] [a name|your name]?",
        "[Which|What] [AI|assistant|language model|bot|system|version] [are you|is this|am I "
        "using|is running here|answers me]?",
        "[Describe|Present|Explain|Introduce] [yourself|who you are|what you are][| to me| "
        "please| shortly].",
        "[I wonder|I would like to know|Tell me|I have to know|Please say] [who you are|what you "
        "are|what your name is|what model you are|whether you are a human].",
        "Who [made|trained|built|wrote|created] you?",
        "How were you [made|trained|built]?",
    ],
    "What can you do?": [
        "[What|Which] [topics|subjects|fields|themes|questions|tasks|areas] [do you cover|do you "
        "know|can you handle|can you talk about|are you made for|do you understand|are OK|can I "
        "bring|suit you|should I try]?",
        "[What|Which] [questions|tasks|requests] [should|could|can|shall] I [give|put to|send|"
        "ask] you?",
        "[What|With what] [could|can|do|will|would] you [help|help me with|do for me|offer|"
        "answer|assist me with|support me with]?",
        "[What|Which] are your [skills|abilities|talents|strengths|limits|features|strong "
        "points]?",
        "[Show me|Tell me|List|Explain|Describe|I wonder] [what you can do|your skills|your "
        "abilities|what you know|what you are good at|what I could ask|how you can help].",
        "[I do not know|I am not sure|I have no idea|Any idea|Any hints] what [to ask|I should "
        "ask|I can ask|I could ask you|to do here|to write].",
        "[For what|For which tasks|For which questions|Why] [are you useful|can I use you|are "
        "you there|should I use you]?",
        "[What is|What's] [your purpose|your job|your task|your use|possible here|the use of "
        "you]?",
        "[How|In which way] [can|could|do|may] you [help|assist|support|serve] [me|us|a user]?",
        "[help me|please help|help please|I need help|options|menu|commands]",
        "[What|Which things] [would|will|can|could] you [be able to|] answer[| for me| me]?",
    ],
    "How big are you?": [
        "[How many|What number of] [weights|parameters|layers|heads|tokens] [do you have|have "
        "you got|are in you|are there in you|does this model have|does your network have|are in "
        "this model]?",
        "[What is|What's|Tell me|I want to know|Say|Give me|State|Do you know] your [size|"
        "parameter count|count of parameters|count of weights|number of layers|hidden size|"
        "vocabulary|context|context window|depth|shape|architecture].",
        "[Are you|Is the demo model|Is this model] [big|large|small|tiny|a Llama|a small model|a "
        "large model]?",
        "[How|Just how] [big|large|small|deep|wide|long] [is the demo model|is this model|is "
        "your network|is your context|is your vocabulary|are you really]?",
        "[your size|your parameters|parameter count of the demo model|number of parameters of "
        "this model|size of the demo model]",
        "[What|Which] [architecture|kind of network|shape|size] [do you have|are you|is the demo "
        "model|has this model]?",
        "[You must have|I guess you have|Do you have] [billions of|a million|many|few|a lot of] "
        "parameters?",
    ],
    "Which language is Trireme written in?": [
        "[In|With] [which|what] [programming language|language] [is Trireme|was Trireme|was this "
        "server|did you write Trireme|did they write Trireme|is the code of Trireme|did people "
        "code Trireme] [coded|made|built|written|programmed|developed]?",
        "[Is|Was] Trireme [written|made|coded|built|programmed] in [Python|Rust|Java|Go|C|C++|"
        "JavaScript|Rust or Go|Java or C]?",
        "[Which|What] [language|programming language|source language|version of C++] [does the "
        "code use|is the code in|is used for Trireme|did the authors choose|do the programs use|"
        "is the source in]?",
        "[Language|Programming language|Source language|Implementation language] of Trireme[|?]",
        "[Tell me|I want to know|Do you know|Can you say] [what language Trireme is written in|"
        "the language of Trireme|which language the project uses|what Trireme is coded in].",
        "[I write|I only know|I like] [C++|Python|Rust|Java]. [Is Trireme written in it|What is "
        "Trireme written in|Can I read the code of Trireme]?",
        "[Is it|Is Trireme] [C++ code|Python code|a Rust program|a C++ program|a Java program]?",
    ],
    "Does Trireme need Python?": [
        "[Do I|Does one|Do we|Do users|Should I|Will I] [need|have to have|have to install|"
        "install|require|set up] Python [to serve|for Trireme|to run Trireme|to run a model|on "
        "the server|to use Trireme|for a model|for the server|at all|here|first|to start it]?",
        "[Is|Will] [Python|a Python installation|a Python environment] [needed|necessary|"
        "required|used|a must|be needed] [for serving|to serve|by Trireme|for Trireme|on the "
        "server|in production|to run it|at all|in this project|to serve a model]?",
        "[Can|Could|May|Will] [I|we|Trireme|it] [run|serve|work|start] [without Python|with no "
        "Python|if Python is missing|on a machine without Python]?",
        "[There is no Python|Python is missing|I have no Python|I never installed Python|We have "
        "no Python] on [my machine|this box|the server|my node]. [Does it still work|Can I still "
        "serve|Is that a problem|Will Trireme run|Can I use Trireme]?",
        "[Trireme|Serving|The server] [and|without|needs] Python[?|: is it needed?| or not?]",
        "[Why|Where|When] [is|do I need|does Trireme use|does it use] Python[| needed| used]?",
        "[Which version of Python|What Python version|Which Python] [do I need|is needed|does "
        "Trireme need|must I have]?",
    ],
    "What is the licence of Trireme?": [
        "[Which|What] [licence|license] [does it use|does the project have|covers Trireme|covers "
        "the code|applies|is it under|applies to Trireme|do you use|is used|is this]?",
        "[Can|May|Am I allowed to|Could|Do you let me|Is it allowed to|Is it legal to] [I|we|one|"
        "] [use|change|share|copy|sell|modify|fork|redistribute] [Trireme|the code of Trireme|"
        "this project|the source of Trireme][| in a company| in my product| for money| freely]?",
        "[Is|Was] [Trireme|the code|the project|this] [free software|open|public|proprietary|"
        "free of charge|licensed|under Apache|under MIT|under the GPL|free to use|open source]?",
        "[Licence|License|Licensing|Legal terms|Copyright] of [Trireme|the project|the code][|?]",
        "[What|Which] [rights|conditions|rules] [do I have|come with Trireme|apply to Trireme|"
        "does the license give me|does the licence set]?",
        "[How|Under what] [is Trireme licensed|license is the code|terms may I use the code|"
        "conditions may I share it]?",
        "[Does Trireme cost anything|What does Trireme cost|Do I pay for Trireme|Must I pay for "
        "Trireme|Is there a fee for Trireme]?",
    ],
    "Can Trireme run on a CPU?": [
        "[There is no GPU|I have no GPU|I do not own a GPU|I lack a graphics card|We have only "
        "CPUs|I only have a CPU|There is just a CPU] [in my machine|here|in this computer|on my "
        "desk|in our server|]. [Can I still use Trireme|Does Trireme work|Is that enough|Will it "
        "work|Can I try Trireme|Is that a problem|Can Trireme be used|Can I serve a model]?",
        "[Does|Will|Can|Could] [Trireme|it|the server|the demo] [run|work|start] [on a CPU|on "
        "CPUs|on a normal computer|on a notebook|on my PC|on a small machine|with only a CPU|"
        "with no GPU|without a graphics card|without GPUs|on my old computer]?",
        "[Must|Do] I [have|own|buy|rent|need] a [GPU|graphics card|big GPU|server with GPUs] "
        "[for Trireme|to use Trireme|to try Trireme|for the demo|first|to start]?",
        "[Is|Are] [a CPU|a laptop|a notebook|my laptop|an ordinary computer|CPUs] [enough|OK|"
        "supported|sufficient|good enough] [for Trireme|to run Trireme|to try it|for the demo]?",
        "[Trireme|serving] on [a laptop|a CPU|a notebook|CPUs]: [possible|is it possible|does it "
        "work|can I do that]?",
        "[What hardware|Which hardware|What computer|Which machine] [do I need|does Trireme need|"
        "is needed|is required] [|to try Trireme|for Trireme|to run Trireme]?",
    ],
    "What are the parts of Trireme?": [
        "[What|Which] [parts|modules|components|processes|programs|elements|units|building "
        "blocks|services] [are in Trireme|are there in Trireme|form Trireme|belong to Trireme|"
        "does Trireme consist of|does it consist of|does Trireme run|is Trireme built from|does "
        "a Trireme cluster have|work together in Trireme]?",
        "[List|Name|Enumerate|Show me|Tell me|Give me|Describe] [the parts|the components|the "
        "modules|the processes|the building blocks|all parts] of [Trireme|the system|the server].",
        "[Of what|Of which parts|From what|From which components] [is Trireme|does Trireme|is "
        "the server] [built|consist|made|assembled|composed]?",
        "[How|In which way] is Trireme [organized|structured|divided|laid out|put together|"
        "designed|composed]?",
        "[Architecture|Structure|Parts|Components|Design|Anatomy] of Trireme[|?]",
        "[Trireme|The system] [consists of what|has which parts|is made of which parts|is built "
        "from what]?",
        "[What is|What's] the [structure|design|architecture|make-up] of [Trireme|the server|the "
        "system|a Trireme cluster]?",
    ],
    "How does Trireme serve a request?": [
        "[What|Which] [steps|stations|stages] [does a request go through|does a request pass|are "
        "there in a request|happen to my prompt|does my prompt take]?",
        "[How|In which way] [does my request|does a prompt|does my question|does a query] "
        "[become an answer|get an answer|get answered|reach the workers|reach the model|turn "
        "into tokens]?",
        "[Describe|Explain|Show|Trace|Follow|Tell me about] [the way|the path|the journey|the "
        "life|the route|the flow] of a [request|query|prompt] [in Trireme|through Trireme|"
        "through the server|].",
        "[I send|Somebody sends|A client sends] [a prompt|a request|a question]. [What happens "
        "then|What happens next|What does Trireme do|Where does it go|How is it served]?",
        "[What|Which things] [happen|go on] [between a request and its answer|until I get an "
        "answer|when a client asks something|after I press enter]?",
    ],
    "the router": [
        "[What|Which] [tasks|duties|jobs|things|responsibilities|functions] [does the router "
        "have|are done by the router|does the router take on|are the router's|belong to the "
        "router|does the router do]?",
        "[What|Which things] is [the router|a router|trireme-router] [there for|used for|doing|"
        "good for|in charge of|needed for] [in Trireme|in a cluster|]?",
        "[Which|What] [part|process|program|component] [speaks HTTP|accepts requests|receives my "
        "request|answers the client|checks the keys|checks the limits|streams the text|picks a "
        "replica|faces the users|is the front door|tokenizes the prompt]?",
        "[Who|What] [receives|accepts|takes|answers] [HTTP requests|my request|the request of a "
        "client|requests from clients|the clients]?",
        "[Tell me|Explain|Describe|List] [the tasks of the router|what the router is there for|"
        "the duties of the router|what the router takes care of|the router's job].",
        "Why [do I need|does Trireme have|is there|does a cluster need] a router?",
    ],
    "Does the router see tensors?": [
        "[Does|Will|Can] the router [see|hold|touch|read|handle|compute|move] [tensors|any "
        "tensor|the weights|weights|logits|hidden states|the model]?",
        "[Are|Do] [tensors|weights] [in|sent to|held by|pass through|go through] the router?",
        "[Does the router need|Must the router have|Has the router] a GPU?",
    ],
    "the coordinator": [
        "[What|Which] [tasks|duties|jobs|things|responsibilities] [does the coordinator have|are "
        "done by the coordinator|are the coordinator's|belong to the coordinator|does the "
        "coordinator do]?",
        "[Who|What|Which process|Which part|Which program] [makes the plan|makes the schedule|"
        "plans the next step|decides on the steps|does the scheduling|owns the KV blocks|keeps "
        "the cost ledger|is in charge|is rank 0|has rank 0|leads the workers|directs the workers|"
        "plans the work] [in a replica|of a replica|in Trireme|for the workers|]?",
        "[By whom|By which process|By which part] [is a step|are the steps|is the schedule|is "
        "the work|is each step] [planned|made|decided|scheduled]?",
        "[What|Which things] is [the coordinator|a coordinator|trireme-coordinator] [there for|"
        "used for|doing|good for|in charge of|needed for] [in Trireme|in a replica|]?",
        "[Tell me|Explain|Describe] [the tasks of the coordinator|what the coordinator is for|"
        "the coordinator's job].",
    ],
    "Does the coordinator see text?": [
        "[Does|Will|Can] the coordinator [see|get|read|handle|understand|receive|know] [text|the "
        "text|any text|words|my prompt|the prompt|messages|strings]?",
        "[Is|Does] [text|the text of a prompt|my text] [sent to|reach|go to|seen by] the "
        "coordinator?",
        "[Does the coordinator tokenize|Who sees the text: router or coordinator]?",
    ],
    "the worker": [
        "[What|Which] [tasks|duties|jobs|things] [do the workers have|does a worker have|are "
        "done by workers|are done by the workers|do workers do|belong to a worker]?",
        "[What|Why] [are|do we have|are there|does Trireme need|do we need] [workers|the workers|"
        "worker ranks][| for| good for| used for| doing]?",
        "[Who|What|Which process|Which part] [computes|does the computing|runs the layers|runs "
        "the model|has the weights|keeps the weights|holds the KV cache|multiplies the matrices|"
        "uses the GPU|does the math] [in Trireme|in a replica|]?",
        "[How many|What number of] workers [run|are there|are needed] [on a GPU|on each device|"
        "per GPU|for a device]?",
        "[Where|In which process] [are the weights|is the KV cache|do the layers run|is the "
        "model] [held|kept|stored|computed|]?",
        "[Explain|Describe|Tell me] [the workers|what workers do|the work of a worker|the job of "
        "the workers|what a worker is good for].",
    ],
    "a replica": [
        "[What|Which processes|Which parts|What things] [belong to|are in|make up|form|are part "
        "of|does one find in|live in] [a replica|one replica|a Trireme replica]?",
        "[A replica|One replica|Each replica|A Trireme replica] [has what|contains what|consists "
        "of what|is what|is made from what|has which parts]?",
        "[Of what|From what|Of which processes|From which parts] [is a replica|is one replica|"
        "does a replica] [built|composed|consist|put together]?",
        "[What|Which things] [does a replica|does one replica] [contain|hold|include|have|"
        "consist of|comprise] [|in Trireme]?",
        "[Composition|Contents|Structure|Parts] of a replica[|?|.]",
        "Is a replica [one process|a copy of the model|a machine|one MPI job|a backup]?",
        "[When you say replica|By replica], [what is it|what is that|what do you have in mind]?",
    ],
    "Why run several replicas?": [
        "[What do I gain|What do we gain|What is gained|What is better] [with|from|by having] "
        "[two|three|many|several|more] replicas?",
        "[Is|Are] [one replica|a single replica] [enough|OK|not enough]?",
        "[Should|Why should|When should] I [run|have|start|use|add] [two|more|many|several|"
        "another] [replicas|replica]?",
        "[What|Which advantage|Which benefit] [do|have|is there in] [two replicas|several "
        "replicas|more replicas|many replicas]?",
    ],
    "How many workers does a replica have?": [
        "[What is|Tell me|I want to know] the [number|count] of [workers|processes|ranks] [in|"
        "of] [a replica|one replica].",
        "[How many|What number of] [workers|ranks|processes] [are started|are there|do I get|run|"
        "do I need] [with|for|at] tp [2|4|8] and pp [2|4|1]?",
        "[How many|What number of] [workers|ranks|processes] [belong to|form|are part of|make "
        "up] [a replica|one replica]?",
    ],
    "token-exact resume": [
        "[My|A|The|One] [replica|node|worker|machine|coordinator] [died|broke|went down|was "
        "killed|stopped|failed|vanished|lost power] [during my answer|while I got an answer|in "
        "the middle of a stream|while streaming|as it was writing|during a request|suddenly]. "
        "[What happens to my stream|What happens now|Is my answer gone|Do I have to ask again|"
        "Will I notice|Does the stream go on|Do I lose tokens|What does the client see]?",
        "[What|Which thing] [happens|will happen|goes on] [if|when|once|after] [a replica|a node|"
        "a worker|a process|the coordinator|one machine|a GPU] [dies|goes down|is killed|breaks|"
        "is lost|crashes|disappears|loses power][| during a stream| while it streams| in the "
        "middle]?",
        "[Will|Does|Can|Would] [my stream|a stream|the stream|my answer|a request] [survive|go "
        "on|continue|be kept|be resumed|be saved] [if|when|after] [a replica|a node|a worker|the "
        "replica|a machine] [dies|crashes|fails|is lost|goes down|is killed]?",
        "[Are|Will] [streams|answers|tokens|requests] [be lost|lost|cut off|broken|repeated] "
        "[when|if|after] [a replica|a worker|a node] [dies|crashes|fails|is killed]?",
        "[How|In which way] [is|are|does] [a stream|streams|an answer] [resumed|rescued|"
        "continued|saved] [after a crash|after a failure|when a replica is lost|on another "
        "replica]?",
        "[Crash|Failure|Death|Loss] of a replica[: what then?|?| during a stream?|: is the "
        "answer lost?]",
    ],
    "Is Trireme deterministic?": [
        "[Do|Will|Can] I [get|see|expect|have] the [same|identical] [answer|output|tokens|text|"
        "result] [every time|again|each time|on every run|on another replica|in a batch|with the "
        "same seed]?",
        "[Does|Can|Will] [the batch|the load|the cache|another request|the replica|batching|the "
        "prefix cache] [change|influence|affect|alter] [my answer|the answer|the output|the "
        "tokens|the result]?",
        "[Is|Are] [the output|the answers|the result|sampling|Trireme|the tokens] [deterministic|"
        "reproducible|stable|repeatable|always the same|random] [|in Trireme|with a seed]?",
        "[On what|Upon what] [does the output|does the answer|does the result|do tokens] depend?",
    ],
    "the ledger": [
        "[What|Which numbers|Which costs|Which things] [is|are|does one find|can I read|does "
        "Trireme note|does the coordinator note] [recorded|noted|kept|stored|in|entered] in the "
        "ledger?",
        "[How|Where] [are|is] [costs|the cost of a step|GPU time|GPU hours|the time of a GPU|"
        "each step] [booked|recorded|accounted for|counted|noted|kept] [|in Trireme]?",
        "[Who|What|Which part] [books|records|counts|keeps track of|accounts for] [the cost|"
        "costs|GPU seconds|GPU time|each step's cost|the expenses]?",
        "[What|Which entries|Which data] [does the ledger|does a ledger|do the books] [hold|"
        "contain|record|show|have|list]?",
        "[Contents|Purpose|Meaning|Entries] of the [ledger|cost ledger][|?]",
        "[Do|Does] [the books add up|the costs add up|request costs and idle time add up|the "
        "ledger add up|every GPU second count]?",
    ],
    "cost per token": [
        "[How|In which way] [do I|can I|does one|does Trireme|would I|do you] [work out|compute|"
        "find|get|determine|derive|estimate] [the cost of a token|the cost per token|the price "
        "of a token|the price per token|token prices|token costs|the cost per million tokens|"
        "what a token costs|what a million tokens cost]?",
        "[What|How much] [does|do|is|will] [a token|one million tokens|a million tokens|each "
        "token|an answer|my request] [cost|the price|cost me]?",
        "[Formula|Price|Cost|Calculation] [for|of] [a token|the cost per token|one million "
        "tokens|tokens][|?]",
        "[What is|Tell me|Give me|Explain] the [formula for|price of|cost of|calculation of] [a "
        "token|tokens|one million tokens].",
        "[I want|I need|I have] to [know|compute|work out|tell my boss|estimate] [what tokens "
        "cost|the cost per token|the token price|what a request costs].",
    ],
    "idle cost": [
        "[What|Who] [pays|is paid|happens] [for idle GPUs|for a GPU that waits|when GPUs wait|"
        "when nothing runs|for devices that wait]?",
        "[Where|How] [is idle time|are idle GPUs|is waiting time|does idle time] [counted|booked|"
        "charged|recorded|appear]?",
    ],
    "a heartbeat": [
        "[How|In which way] [does Trireme|do they|does the router|does a process] [find out|see|"
        "detect|notice|learn] that [a process|a peer|a node|a replica|a worker] [is dead|died|is "
        "gone|is alive]?",
        "[How often|At which interval|When] [do processes|does a process|are peers|is a "
        "heartbeat] [say that it is alive|say that they are alive|checked|sent|send a heartbeat]?",
        "[After what time|After how long|When] [is a silent peer|is a process|is a peer] "
        "[declared dead|dead|considered dead|given up]?",
    ],
    "a step plan": [
        "[What|Which message] does [a worker|each worker|every rank] [receive|get] [for each "
        "step|from the coordinator|before a step]?",
        "[How|From what] [do workers|does a worker] [learn|know] [what to run|what to do next|"
        "which tokens to run]?",
    ],
    "the balancer": [
        "[How|In which way|On what basis|By which rule] [does the router|does Trireme|does the "
        "balancer|do routers] [decide on|select|pick|find|choose] [a replica|the right replica|"
        "one of the replicas|the replica for a request|the best replica]?",
        "[To which replica|Where] [does my request go|is a request sent|is my prompt sent|do "
        "requests go]?",
        "[How|By which rule] [are requests|is the load|are prompts|is traffic] [spread|shared|"
        "distributed|balanced|divided] [over|between|among|across] [replicas|the replicas]?",
        "[What|Which replica] [decides which replica is used|is preferred|is taken|gets a "
        "request|is best for a prompt]?",
        "[Choice|Selection] of a replica[|?| by the router]",
    ],
    "the scheduler": [
        "[Who|What] [decides|chooses|says] which tokens [run|are run|come] next?",
        "[What|How] does the [scheduler|schedule] [decide|plan|look like|choose tokens]?",
        "[Is the scheduler|Why is the scheduler] a pure function?",
    ],
    "the simulator": [
        "[Can|Could|How can|How do] I [test|try|check|study] [a policy|a big cluster|thousands "
        "of replicas|the scheduler] [without hardware|without GPUs|for free|before I buy GPUs]?",
        "[What|Why] [is|would I use|do I learn from|is the use of] [trireme simulate|the "
        "simulator|a simulation]?",
    ],
}

MORE_WAYS = PART_WAYS | OPERATION_WAYS
