"""More ways to ask about running Trireme; see asking.py."""

OPERATION_WAYS = {
    "the planner": [
        "[What|Which numbers|Which figures|Which facts] [does|will|can] [trireme plan|the plan "
        "command|the planner] [print|tell me|show|predict|report|output|say|list|compute]?",
        "[What|Which things] [can I read from|do I see in|do I learn from|is in the output of|do "
        "I get from|comes out of] [trireme plan|the plan command|the planner]?",
        "[Will|Does|Can] my model [fit|fit my cluster|fit on two GPUs|fit my GPUs|fit in "
        "memory]? [How do I find out|Which command tells me|How can I know|]",
        "[I want|I need] to [know|find out|check|see|predict] [if a model fits|the memory per "
        "rank|the memory use|the price|what a deployment costs|the KV capacity] [before I start|"
        "before starting|in advance|beforehand|first]. [How|Which command|What helps|]?",
        "[Output|Purpose|Use|Result] of [trireme plan|the plan command][|?]",
        "[Run|If I run|When I run|After] trireme plan[: what comes out?|, what do I see?|: what "
        "does it print?|, what does it say?]",
    ],
    "make serve": [
        "[What|Which processes|Which things|Which parts] [does|will|is|are] [make serve start|"
        "make serve launch|make serve run|make serve bring up|run after make serve|started by "
        "make serve|launched by make serve]?",
        "[I run|I ran|I typed|I called|I entered] make serve. [What happens|What happens now|"
        "What does it do|What is running now|What does it start|What do I get]?",
        "[What|Which thing] [happens|goes on|will happen|comes up] [when|if|after] I [run|call|"
        "enter|execute|use] make serve?",
        "[How|In which way] [can|do|could|would] I [get a demo|see a demo|start a demo cluster|"
        "try it|try it out|try this out|run it here|bring up the demo|start playing]?",
        "[First steps|Quick start|Getting started|How to begin|Where do I begin|Where do I "
        "start][| with Trireme]?",
        "[I cloned the repository|I just cloned it|I downloaded Trireme|I have the code]. [What "
        "next|What now|How do I start|How do I try it|What should I run]?",
    ],
    "trireme serve": [
        "[How|In which way|With which command] [can|do|could|would] I [run|host|serve|start|put "
        "up] [my own model|a model folder|a checkpoint|a Llama model|another model|my model]?",
        "[What|Which] [options|flags|arguments] does trireme serve [have|take|know]?",
        "[I have a model folder|I downloaded a model|I have my own checkpoint]. [How do I serve "
        "it|Which command do I use|How do I start it]?",
    ],
    "trireme chat": [
        "[How|With which command] [can|do] I [chat|talk to the model|talk to a model|write to "
        "the model] [in a terminal|on the command line|from the shell|in the console]?",
        "[Is there|Do you have] a [terminal chat|command line chat|chat program]?",
    ],
    "trireme inspect": [
        "[How|With which command] [can|do] I [see|find out|check|learn] [what is in a model "
        "folder|the shape of a model|the family of a model|the size of a model]?",
    ],
    "trireme bench": [
        "[How|With which command] [can|do] I [find out how fast Trireme is|test the speed|"
        "measure performance|run a benchmark|measure the router|get speed numbers]?",
        "[Is there|Which is] a [benchmark|speed test|command for measuring]?",
    ],
    "mpirun": [
        "[Why|To what end|For which task|For what] [does Trireme|do they|does a replica|does "
        "Trireme here] [use|need|want|call|rely on|take] mpirun?",
        "[What|Which thing|Which program|Which launcher|Which tool] [starts|launches|brings up] "
        "[a replica|the processes|the workers|the ranks|the coordinator|the processes of a "
        "replica]?",
        "[How|By what|With what|By which program] [is a replica|are ranks|are processes|are the "
        "workers|is the coordinator] [started|launched|brought up|begun]?",
        "[What|Which] [role|function|job|task] [has mpirun|does mpirun have] [in Trireme|here|in "
        "a replica|]?",
        "[Where|When] [is mpirun used|does Trireme use mpirun|does mpirun come in|do I meet "
        "mpirun]?",
        "[The reason|Reason|Reasons] for mpirun[| in Trireme][|?]",
    ],
    "MPI": [
        "[Why|To what end|For what] [does Trireme|does a replica|do workers] [use|need] [MPI|"
        "Open MPI]?",
        "[Which MPI|What MPI library|Which kind of MPI] does Trireme use?",
        "[MPI|Open MPI] [in Trireme|stands for what|is short for what|means what][|?]",
    ],
    "NCCL": [
        "[What|Which] [function|task|job|duty|use] [does NCCL have|has NCCL|is there for NCCL] "
        "[in Trireme|here|in a replica|]?",
        "[How|With what|By which library|With which library] [are tensors|are partial sums|is "
        "data] [summed|gathered|moved|exchanged|shared] [between GPUs|on GPUs|across GPUs|among "
        "the GPUs]?",
        "[Where|When|For what] [is NCCL used|does Trireme use NCCL|does NCCL come in|is NCCL "
        "needed|is NCCL good]?",
        "[Which|What] [library|collective library] [does Trireme use on GPUs|sums tensors on "
        "GPUs|works between GPUs|do the GPU workers use]?",
    ],
    "ZeroMQ": [
        "[Which|What] [library|protocol|software|transport] [carries messages|is used|does "
        "Trireme use|sends messages|moves messages|transports messages|do they use] [between|"
        "from] [router and coordinator|routers and replicas|the router and the coordinator|the "
        "router to a replica|the processes]?",
        "[How|With what|Through what] [do|does|can] [the router|a router|routers] [and a replica|"
        "and replicas|and the coordinator|and coordinators] [talk|communicate|speak|send "
        "messages|stay in touch]?",
        "[How|With what|Through what] [are messages|is a message|are requests|are heartbeats] "
        "[sent|carried|passed|moved|transported] [to a replica|between processes|between router "
        "and coordinator|from the router to a replica|]?",
        "[What|Which thing] [links|connects|joins|lies between] [the router and a replica|"
        "routers and coordinators|router and coordinator|the router with the coordinator]?",
        "[Where|When|For what] [is ZeroMQ used|does Trireme use ZeroMQ|does ZeroMQ come in|is "
        "ZeroMQ needed]?",
        "[Messaging|Communication|Messages|Transport] between [router and coordinator|routers "
        "and replicas][|?|: which library?]",
    ],
    "CURVE": [
        "[Is|Are] [my data|the messages|the links|the traffic|ZeroMQ|the wire|the connections] "
        "[encrypted|secret|safe|protected|secure] [|in Trireme|between router and replica]?",
        "[Can|Could] [a stranger|somebody|an attacker] [listen|read the messages|connect to a "
        "replica|join the cluster]?",
    ],
    "the backend": [
        "[Which|What] [backends|devices|kinds of device|hardware] [does Trireme have|can Trireme "
        "use|does it support|are supported|can it compute on]?",
    ],
    "Helm": [
        "[We|I|They|My team] [use|run|have|work with] [Kubernetes|a k8s cluster|K8s]. [How do I "
        "deploy Trireme|How can I get Trireme on it|Can Trireme run on it|Does Trireme support "
        "that|What do I do|Is there a chart|How is Trireme set up there]?",
        "[How|In which way|With what] [can|do|could|should] I [deploy|set up|put|run|roll out|"
        "get] Trireme [on Kubernetes|on K8s|in a Kubernetes cluster|in our k8s cluster|on a "
        "cluster|in pods]?",
        "[Is there|Do you have|Does it come with|Does Trireme offer] [a Helm chart|a chart|a "
        "Kubernetes package|support for Kubernetes|Kubernetes support]?",
        "[Kubernetes|K8s|Helm] [installation|deployment|support|setup|install][| of Trireme| for "
        "Trireme][|?]",
        "[What|Which tool|Which package] [installs|deploys] Trireme on [Kubernetes|K8s|a "
        "cluster]?",
    ],
    "LeaderWorkerSet": [
        "[How|With what] [can|does|do] [one replica|a replica|replicas] [use|span|run on|cover] "
        "[many nodes|several nodes|several pods|more than one node] [on Kubernetes|in "
        "Kubernetes]?",
        "[Which|What] [resource|Kubernetes object|Kubernetes resource] [does Trireme use|holds a "
        "replica|runs the pods of a replica|is a replica]?",
    ],
    "autoscaling": [
        "[Can|Does|Will|How does] Trireme [add replicas|scale|scale up|grow|scale by itself|"
        "remove replicas] [|when the load grows|under load|at night|automatically]?",
        "[More load comes|The load grows|There are too many requests]. [Are replicas added|How "
        "does Trireme scale|What scales]?",
    ],
    "the metrics of Trireme": [
        "[How|Where] [can|do|could] I [see|watch|observe|read|monitor|follow] [the metrics|the "
        "latency|the cache use|what the server does|the load|the numbers of the server]?",
        "[What|Which] [numbers|metrics|figures|values] [does Trireme|does the server|does it] "
        "[export|show|offer|give|publish|measure]?",
        "[Monitoring|Metrics|Observability] [of|in|for] Trireme[|?]",
        "What is [at|under|behind] /metrics?",
    ],
    "the OpenAI API": [
        "[Can|Could|May|Will] [I|my program|an OpenAI client|the openai package|my app] [use|"
        "talk to|work with|call|connect to] [Trireme|the server|it] [with the OpenAI client|like "
        "OpenAI|without changes|over HTTP|]?",
        "[Which|What] [URL|path|endpoint|address|route] [is for chat|do I call|takes chat "
        "requests|does chat have|is used for chat|do I post to]?",
        "[Which|What] [API|protocol|interface] [does the server|does it|do clients|do I] [offer|"
        "speak|use|have]?",
        "[Is|Are] [Trireme|the API|existing clients|OpenAI clients] [compatible|compatible with "
        "OpenAI|the same as OpenAI's|supported]?",
    ],
    "the model folder": [
        "[Which|What] [files|formats|kinds of file|model files] [can Trireme load|does Trireme "
        "read|are supported|belong to a model|are in a model folder|must a model have]?",
        "[Can|Does|Will] Trireme [load|read|open|take|accept] [GGUF|safetensors|Hugging Face "
        "models|a Hugging Face checkpoint|my checkpoint]?",
    ],
    "an API key": [
        "[How|Where] [is|are] [my key|keys|API keys|a key] [checked|stored|kept|saved|verified]?",
        "[Do I need|Must I have|Why do I need] [a key|an API key|a secret]?",
    ],
    "a rate limit": [
        "[I get|I got|The server sends|The router answers|There is] [a 429|status 429|error "
        "429]. [Why|What does it mean|What is that|What now|What should I do]?",
        "[How many|Are there limits on] requests [may I send|can I send|a minute]?",
        "[What|Which] [limits|limit] [are there|do I have|applies to my key]?",
        "[Too many requests|I send too many requests|I ask too often]: [what then|what happens]?",
    ],
    "draining": [
        "[How|In which way] [can|do] I [shut down|stop|remove|turn off|retire] a replica "
        "[without errors|safely|gently|without losing requests|cleanly]?",
    ],
}
