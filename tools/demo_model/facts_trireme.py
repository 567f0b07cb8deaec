"""What the demo model knows about Trireme."""

from topic import topic

OVERVIEW = [
    topic(
        "Trireme|the Trireme project|this project|Trireme serving",
        "Trireme is a server for language models that do not fit one GPU or one machine. It is "
        "started by mpirun, speaks the OpenAI API over HTTP, and needs no Python to serve.",
        "What does Trireme do?", "What is Trireme for?", "Why would I use Trireme?",
        "What is the purpose of Trireme?", "What can I do with Trireme?",
        "What problem does Trireme solve?",
        detail=(
            "Trireme is a server for language models that do not fit one GPU or one machine. "
            "Routers accept HTTP requests in the OpenAI format, turn text into tokens and choose a "
            "replica. In each replica a coordinator plans every step, and workers hold the weights "
            "and do the computing. The same C++ programs run on a laptop's CPU and on a GPU "
            "cluster. Every GPU second is accounted for, and a stream goes on even when its "
            "replica is lost."
        ),
    ),
    topic(
        "a trireme|a trireme ship|the ship called trireme",
        "A trireme is an ancient ship with three banks of oars. In Trireme the three banks are "
        "tensor ranks, pipeline stages and replicas, and they pull in time.",
        "Where does the name Trireme come from?", "Why is it called Trireme?",
        "What does the name Trireme mean?", "Why the name Trireme?",
        "What are the three banks of oars?", "Explain the name of the project.",
    ),
    topic(
        "",
        "I am the Trireme demo model, a very small language model that comes with Trireme. I was "
        "trained on short texts written for it, so that the server can be tried without a "
        "download.",
        "Who are you?", "What are you?", "What is your name?", "Tell me about yourself.",
        "Introduce yourself.", "What model is this?", "Which model are you?",
        "Are you a language model?", "What kind of model are you?", "What is the demo model?",
        "What is trireme-demo?", "Are you ChatGPT?", "Are you a human?", "Are you a robot?",
    ),
    topic(
        "",
        "I can answer questions about Trireme and language model serving, do small sums, write "
        "short lists and follow simple formats. I know very little else.",
        "What can you do?", "What do you know?", "How can you help me?", "What can I ask you?",
        "What are you able to do?", "What are you good at?", "Which questions can you answer?",
        "Help!", "help", "What topics do you know about?", "Can you help me?",
        "Give me an idea of what to ask.",
    ),
    topic(
        "",
        "I am a Llama model with about 5 million parameters, 8 layers and a hidden size of 256. "
        "My vocabulary has 2048 tokens and my context is 1024 tokens.",
        "How big are you?", "How many parameters do you have?", "What is your architecture?",
        "What is your context length?", "How large is the demo model?",
        "How many layers do you have?", "How many parameters does the demo model have?",
        "What is your vocabulary size?",
    ),
    topic(
        "",
        "Trireme is written in C++20. No Python is needed to build it or to serve with it.",
        "Which language is Trireme written in?", "What programming language does Trireme use?",
        "Is Trireme written in C++?", "In what language is Trireme implemented?",
        "What is Trireme programmed in?", "What is Trireme written in?",
    ),
    topic(
        "",
        "No, Trireme needs no Python to serve a model. Its programs are written in C++20 and are "
        "started by mpirun.",
        "Does Trireme need Python?", "Is Python required to run Trireme?",
        "Do I have to install Python for Trireme?", "Do I need Python for serving?",
        "Does Trireme use Python?", "Is there Python in Trireme?",
    ),
    topic(
        "",
        "Trireme is open source under the Apache License 2.0. You may use, change and share it "
        "under those terms.",
        "What is the licence of Trireme?", "What license does Trireme have?",
        "Is Trireme open source?", "Is Trireme free?", "Under which license is Trireme published?",
        "May I use Trireme at work?", "Can I modify Trireme?",
    ),
    topic(
        "",
        "Yes, Trireme runs on a laptop's CPU as well as on GPUs. Only the backend and the "
        "collective differ; the programs and the protocol are the same.",
        "Can Trireme run on a CPU?", "Does Trireme run on my laptop?",
        "Do I need a GPU for Trireme?", "Is a GPU required?", "Can I use Trireme without a GPU?",
        "Does Trireme work on a laptop?", "Does Trireme need a graphics card?",
    ),
    topic(
        "",
        "The parts of Trireme are the router, the coordinator and the workers. The router handles "
        "text and HTTP, the coordinator plans the steps, and the workers compute.",
        "What are the parts of Trireme?", "Which parts does Trireme have?",
        "Name the components of Trireme.", "What is Trireme made of?",
        "Which processes does Trireme have?", "What are the processes in Trireme?",
        "How is Trireme built up?", "What is the architecture of Trireme?",
        "Describe the architecture of Trireme.",
    ),
    topic(
        "",
        "A client sends HTTP to a router, the router picks a replica, and the replica's workers "
        "compute the tokens, which stream back. The coordinator of the replica plans each step.",
        "How does Trireme serve a request?", "How does Trireme work?",
        "What happens when I send a request?", "How is a request served?",
        "What is the life of a request?", "What is the path of a request in Trireme?",
        "Walk me through a request.", "How does a request travel through Trireme?",
        "What happens to a request in Trireme?",
        detail=(
            "First the router reads the HTTP request, checks the key and the limits, applies the "
            "chat template and turns the text into tokens. Then it scores the replicas and sends "
            "the tokens to the best one over ZeroMQ. There the coordinator adds the request to its "
            "schedule and sends a step plan to every worker. The workers run the layers, sum their "
            "parts with collectives, and the last stage samples the next token. The coordinator "
            "books the cost and sends the token to the router. The router turns it back into text "
            "and streams it to the client, token by token, until the answer is complete."
        ),
    ),
]

PARTS = [
    topic(
        "the router|a router|Trireme's router|the router in Trireme|trireme-router",
        "The router is the process that clients talk to. It checks keys and limits, applies the "
        "chat template, tokenizes, picks a replica and streams the text back.",
        "What does the router do?", "What is the job of the router?",
        "What is the router responsible for?", "Which part of Trireme talks to clients?",
        "Which process handles HTTP?", "Who applies the chat template?",
        "Which part tokenizes the text?", "Who streams the text back?",
    ),
    topic(
        "",
        "No, the router never sees a tensor. It works with HTTP, JSON, text and token ids.",
        "Does the router see tensors?", "Does the router touch the weights?",
        "Does the router compute anything on the GPU?",
    ),
    topic(
        "the coordinator|a coordinator|Trireme's coordinator|the coordinator in "
        "Trireme|trireme-coordinator",
        "The coordinator is the process that plans the work of one replica. It owns the requests, "
        "the KV blocks, the schedule and the cost ledger, and it is rank 0 of the replica's MPI "
        "job.",
        "What does the coordinator do?", "What is the job of the coordinator?",
        "Who plans the steps?", "Which process owns the schedule?",
        "Who owns the requests in a replica?", "Which part of Trireme plans the work?",
        "What is the coordinator responsible for?", "Which process is rank 0?",
    ),
    topic(
        "",
        "No, the coordinator never sees text. It takes token ids and gives token ids.",
        "Does the coordinator see text?", "Does the coordinator handle text?",
        "Does the coordinator read the prompt as text?",
    ),
    topic(
        "the worker|a worker|a worker rank|a Trireme worker|trireme-worker",
        "A worker is the process that computes, one for each device. It holds its share of the "
        "weights and the KV cache, and runs the step plan that the coordinator sends.",
        "What does a worker do?", "What do the workers do?", "What is the job of a worker?",
        "Who holds the weights?", "Which process computes the layers?",
        "Which part of Trireme does the computing?", "How many workers are there per device?",
        "Where do the weights live?",
    ),
    topic(
        "a replica|the replica|a replica in Trireme|a Trireme replica",
        "A replica is one complete copy of the model: one coordinator and its workers in one MPI "
        "job. It is one failure domain and one unit of scaling.",
        "What does a replica consist of?", "What is in a replica?",
        "What is the unit of scaling in Trireme?", "What is one failure domain in Trireme?",
        "How many coordinators does a replica have?", "What are replicas?",
    ),
    topic(
        "",
        "Two or more replicas serve more requests at once, and a stream can move to another "
        "replica when its own is lost.",
        "Why run several replicas?", "Why would I want two replicas?",
        "What is the use of more than one replica?", "What do more replicas bring?",
        "Why have many replicas?",
    ),
    topic(
        "",
        "A replica has one coordinator and tp x pp workers. With tp 2 and pp 2 there are 4 "
        "workers.",
        "How many workers does a replica have?", "How many workers are in a replica?",
        "How do I count the workers of a replica?", "How many processes does a replica need?",
    ),
    topic(
        "token-exact resume|stream resume|resume in Trireme|exact resume|resuming a stream",
        "Token-exact resume means that a stream outlives its replica. The router keeps the prompt "
        "and the tokens sent so far, hands them to another replica, and the client sees no gap, "
        "no repeat and no error.",
        "What happens when a replica dies?", "What happens to a stream when its replica is lost?",
        "Does a stream survive a crash?", "What if a replica fails in the middle of an answer?",
        "How does Trireme handle a failed replica?", "What happens if a worker crashes?",
        "How does a stream move to another replica?", "Do I lose my answer when a node dies?",
    ),
    topic(
        "",
        "The result depends only on the weights, the prompt, the sampling parameters and the "
        "seed. It does not depend on the batch, on the cache or on the replica.",
        "Is Trireme deterministic?", "Are answers reproducible?", "What do the tokens depend on?",
        "Does the batch change the answer?", "Will I get the same answer twice?",
        "Does the same seed give the same answer?", "Is the output reproducible?",
    ),
    topic(
        "the ledger|the cost ledger|Trireme's ledger|the ledger in Trireme",
        "The ledger is where the coordinator books the cost of each step. Request costs, idle "
        "time and overhead add up exactly to the GPU hours times the price.",
        "What does the ledger do?", "Where is the cost booked?", "Who keeps the books?",
        "How does Trireme account for GPU time?", "How are costs tracked in Trireme?",
        "What is booked in the ledger?", "Does every GPU second get accounted for?",
    ),
    topic(
        "cost per token|the cost per token|the cost of a token|the price per token",
        "The cost per token is the price of the devices for the time that a token took. It is the "
        "dollars per hour divided by the tokens per hour, and it is often given per million "
        "tokens.",
        "How is the cost per token computed?", "How much does a token cost?",
        "How do I work out the cost per million tokens?",
        "How does Trireme compute the cost of a request?", "Where can I see what a request cost?",
        "What does an answer cost?",
    ),
    topic(
        "idle cost|the cost of idle time|idle time in the ledger",
        "Idle cost is what the devices cost while they wait for requests. The ledger books it "
        "under its own name, so it is never hidden in a request.",
        "Who pays for idle time?", "How is idle time booked?",
        "What happens to the cost of an idle GPU?",
    ),
    topic(
        "a heartbeat|the heartbeat|a heartbeat in Trireme",
        "A heartbeat is a small message that says that a process is alive. Trireme sends one "
        "every 500 milliseconds over ZeroMQ, and a peer that is silent for 5 seconds counts as "
        "dead.",
        "How does Trireme notice a dead process?", "How are failures detected?",
        "How does Trireme know that a peer is alive?", "How often are heartbeats sent?",
        "When does a peer count as dead?", "Why are there heartbeats?",
    ),
    topic(
        "a step plan|the step plan|a StepPlan",
        "A step plan says what every worker does in the next step: which tokens to run and which "
        "KV blocks to read and write. The coordinator sends the plan, never the tensors.",
        "What does the coordinator send to the workers?", "How do workers know what to do?",
        "What is inside a step plan?",
    ),
    topic(
        "step consensus|the step header",
        "Step consensus means that all ranks agree on the epoch, the step and its shape before "
        "the first collective. When one differs, the error names the rank.",
        "How do the ranks agree on a step?", "How does Trireme find a rank that is out of step?",
    ),
    topic(
        "a step deadline|the step deadline",
        "A step deadline is the longest time that a step may take. When it passes, the failure "
        "names the rank, the step and the operation.",
        "What happens when a step hangs?", "Can a step wait for ever?",
        "What if a collective never returns?",
    ),
    topic(
        "the balancer|load balancing in Trireme|routing in Trireme",
        "The balancer is the part of the router that picks a replica. It prefers a replica that "
        "already holds the start of the prompt in its cache and that has little load.",
        "How does the router pick a replica?", "How does the router choose a replica?",
        "How is the load balanced?", "Which replica gets my request?",
        "How does Trireme balance load?",
    ),
    topic(
        "the scheduler|Trireme's scheduler|the schedule",
        "The scheduler decides which tokens run in the next step. It is a pure function: a "
        "snapshot goes in and a plan comes out.",
        "What does the scheduler do?", "How does the scheduler work?",
        "Who decides what runs next?",
    ),
    topic(
        "the simulator|trireme simulate|the simulate command",
        "The simulator runs the production scheduler and balancer over thousands of pretend "
        "replicas. It needs no GPU and shows how a policy behaves before you pay for it.",
        "How can I simulate a large cluster?", "Can I try a policy without GPUs?",
        "What does trireme simulate do?",
    ),
    topic(
        "the planner|trireme plan|the plan command|the trireme plan command",
        "trireme plan shows how a model fits a cluster before anything is started. It prints "
        "memory per rank, KV capacity, predicted time to first token, tokens per second and the "
        "price per million tokens.",
        "What does trireme plan do?", "How do I know whether my model fits?",
        "How can I estimate the cost before I start?", "What does trireme plan print?",
        "How do I plan a deployment?", "Which command predicts memory and cost?",
        "How do I check that a model fits my GPUs?",
    ),
]

OPERATION = [
    topic(
        "make serve|the make serve command|the serve target",
        "make serve starts the whole demo cluster on your machine: a router, coordinators and "
        "workers with the bundled model. When it is ready it prints the address, and you can send "
        "requests to it.",
        "What does make serve do?", "How do I start the demo?", "How do I run the demo cluster?",
        "How can I try Trireme quickly?", "What is the quickest way to try Trireme?",
        "How do I get started with Trireme?", "Which command starts the demo?",
        "How do I start Trireme on my machine?",
    ),
    topic(
        "trireme serve|the serve command|the trireme serve command",
        "trireme serve starts a model on this machine, with its router, coordinators and workers. "
        "Options such as --tp, --pp and --replicas set its shape.",
        "What does trireme serve do?", "How do I serve a model?", "How do I serve my own model?",
        "Which command serves a model?", "How do I start a server with my model?",
    ),
    topic(
        "trireme chat|the chat command",
        "trireme chat is a chat in the terminal that streams the answer. It shows the tokens per "
        "second and the cost of each answer.",
        "What does trireme chat do?", "How can I chat in the terminal?",
        "Which command opens a chat?",
    ),
    topic(
        "trireme inspect|the inspect command",
        "trireme inspect shows what is in a model folder: its family, shape and size. It starts "
        "nothing.",
        "What does trireme inspect do?", "How do I look into a model folder?",
    ),
    topic(
        "trireme bench|the bench command",
        "trireme bench measures how fast Trireme is: the engine, the server, the router or single "
        "operations. Each result is one line of JSON.",
        "What does trireme bench do?", "How do I measure the speed?", "How do I benchmark Trireme?",
    ),
    topic(
        "mpirun|the mpirun command|mpirun in Trireme",
        "mpirun is the launcher of Open MPI: it starts the processes of a parallel job on one or "
        "more machines. In Trireme each replica is one mpirun job with a coordinator and its "
        "workers.",
        "What does mpirun do?", "How are the workers started?",
        "How does Trireme start its processes?", "What starts a replica?",
        "Why does Trireme use mpirun?", "Which launcher does Trireme use?",
    ),
    topic(
        "MPI|Open MPI|the Message Passing Interface",
        "MPI is the Message Passing Interface, a standard for programs that run on many "
        "processes. Trireme uses Open MPI to start a replica and for collectives on the CPU.",
        "What does MPI stand for?", "What does Trireme use MPI for?", "Why does Trireme use MPI?",
    ),
    topic(
        "NCCL|the NCCL library",
        "NCCL is NVIDIA's library for collectives between GPUs. Trireme uses it to sum and gather "
        "tensors when the workers run on CUDA devices.",
        "What does Trireme use NCCL for?", "Why does Trireme use NCCL?",
        "Which library connects the GPUs?", "What does NCCL do?",
        "How do GPUs exchange data in Trireme?",
    ),
    topic(
        "ZeroMQ|ZMQ|the ZeroMQ library",
        "ZeroMQ is a library for messages between processes. Trireme uses it between routers and "
        "replicas and for heartbeats, encrypted with CURVE.",
        "What does Trireme use ZeroMQ for?", "Why does Trireme use ZeroMQ?",
        "How does the router talk to a replica?", "How do routers and coordinators communicate?",
        "What connects the router to the replicas?", "What does ZeroMQ do?",
    ),
    topic(
        "CURVE|CURVE encryption|ZeroMQ CURVE",
        "CURVE is the encryption of ZeroMQ. Trireme uses it on the links between routers and "
        "replicas, so that only known keys can connect.",
        "Are the links encrypted?", "How are messages between router and replica protected?",
        "Is the traffic encrypted?",
    ),
    topic(
        "the backend|a backend|a backend in Trireme",
        "A backend is the code that computes on one kind of device. Trireme has a cpu backend and "
        "a cuda backend.",
        "Which backends does Trireme have?", "What backends are there?",
        "Which devices does Trireme support?",
    ),
    topic(
        "Helm|the Helm chart|Trireme's Helm chart",
        "Helm is a package manager for Kubernetes, and a chart is its package. Trireme comes with "
        "a chart that installs routers and replicas, and replicas may span several nodes and "
        "scale by themselves.",
        "How do I install Trireme on Kubernetes?", "How do I deploy Trireme?",
        "Does Trireme have a Helm chart?", "Can Trireme run on Kubernetes?",
        "What is in the Helm chart?", "How do I run Trireme in a cluster?",
    ),
    topic(
        "LeaderWorkerSet|a LeaderWorkerSet|LWS",
        "LeaderWorkerSet is a Kubernetes resource that runs a group of pods as one unit. Trireme "
        "uses it for a replica that spans several nodes.",
        "How does a replica span several pods?", "Why does Trireme use LeaderWorkerSet?",
    ),
    topic(
        "Kubernetes|K8s",
        "Kubernetes is a system that runs containers on a cluster of machines. Trireme installs "
        "on it with a Helm chart.",
        "What does Kubernetes do?",
    ),
    topic(
        "autoscaling|autoscaling in Trireme",
        "Autoscaling means adding or removing replicas as the load changes. Queue depth and KV "
        "cache use are good signals for it.",
        "How does Trireme scale?", "How do replicas scale?", "Which signals drive autoscaling?",
        "Can replicas be added by themselves?",
    ),
    topic(
        "the metrics of Trireme|the metrics endpoint|Trireme's metrics",
        "Trireme shows its metrics in the Prometheus format at /metrics. They cover requests, "
        "latency, cache use, cost and the time that ranks spend waiting.",
        "Which metrics does Trireme have?", "What metrics are there?",
        "Where do I find the metrics?", "How do I monitor Trireme?",
        "Does Trireme work with Prometheus?", "Where can I see latency numbers?",
    ),
    topic(
        "Prometheus",
        "Prometheus is a system that collects metrics from servers. Trireme offers its metrics to "
        "it at /metrics.",
        "What does Prometheus do?",
    ),
    topic(
        "the OpenAI API|the API of Trireme|Trireme's API",
        "Trireme speaks the OpenAI API over HTTP. Chat is at /v1/chat/completions, and clients "
        "that work with that API work here.",
        "Which API does Trireme speak?", "What API does Trireme offer?",
        "Which endpoint do I use for chat?", "Can I use the OpenAI client with Trireme?",
        "How do I send a chat request?", "Is Trireme compatible with OpenAI?",
        "Which URL do I send a request to?",
    ),
    topic(
        "/v1/models|the models endpoint",
        "/v1/models is the endpoint that lists the models that the server offers.",
        "How do I list the models?", "Which endpoint lists the models?",
    ),
    topic(
        "/v1/pricing|the pricing endpoint",
        "/v1/pricing is the endpoint that shows the list price beside the measured cost.",
        "How do I see the prices?", "Which endpoint shows the price?",
    ),
    topic(
        "the model folder|a model folder|a Hugging Face folder",
        "A model folder holds config.json, the weights as safetensors, and the tokenizer. Trireme "
        "reads Hugging Face folders and GGUF files.",
        "Which model formats does Trireme read?", "What is in a model folder?",
        "Which files does a model need?", "Can Trireme load GGUF?", "Can Trireme load safetensors?",
        "Which checkpoint formats does Trireme support?",
    ),
    topic(
        "an API key|API keys in Trireme",
        "An API key is a secret that a client sends to prove who it is. The router checks it, and "
        "Trireme stores keys only as hashes.",
        "How does Trireme check who I am?", "How are API keys stored?", "Who checks the API key?",
    ),
    topic(
        "a rate limit|rate limiting|rate limits in Trireme",
        "A rate limit is the most requests or tokens that a client may use in a minute. When it "
        "is reached, the router answers 429 and says when to try again.",
        "What does status 429 mean?", "What happens when I send too many requests?",
        "Why do I get a 429?", "Who enforces the limits?",
    ),
    topic(
        "draining|draining a replica|a drain",
        "Draining means that a replica takes no new requests and finishes those it has. After "
        "that it can be stopped without an error.",
        "How do I stop a replica safely?", "How do I take a replica out of service?",
    ),
]

TRIREME_TOPICS = OVERVIEW + PARTS + OPERATION
