"""What the demo model knows about serving language models."""

from facts_model import MODEL_TOPICS
from topic import topic

TEXT = [
    topic(
        "a token|a token in a language model|a text token",
        "A token is a small piece of text, such as a word or a part of a word. A language model "
        "reads and writes tokens, each as a number.",
        "What are tokens?", "How is text cut up for a model?",
        "What does a language model read and write?",
    ),
    topic(
        "a tokenizer|the tokenizer|tokenization",
        "A tokenizer turns text into token ids and token ids back into text. Most tokenizers are "
        "trained with byte-pair encoding.",
        "What does a tokenizer do?", "How does text become token ids?",
        "How does text become numbers?",
    ),
    topic(
        "byte-pair encoding|BPE|byte pair encoding|byte-level BPE",
        "Byte-pair encoding builds a vocabulary by joining the most frequent pairs again and "
        "again. At the byte level it can encode any text.",
        "How does BPE work?", "What does BPE stand for?", "How is a BPE vocabulary built?",
    ),
    topic(
        "a vocabulary|the vocabulary of a model|the vocab size",
        "A vocabulary is the list of all tokens that a model knows. Its size is the number of "
        "logits that the model gives for each position.",
        "How many logits does a model give?",
    ),
    topic(
        "a chat template|the chat template|a template for chat",
        "A chat template turns a list of messages into one prompt. It marks who speaks, and it is "
        "written in Jinja.",
        "What does a chat template do?", "How do messages become a prompt?",
        "Which language are chat templates written in?",
    ),
    topic(
        "a prompt|the prompt",
        "A prompt is the text that a model is given. The model goes on from its end, token by "
        "token.",
        "What does a model get as input?",
    ),
    topic(
        "a system prompt|the system message",
        "A system prompt is a message at the start of a chat that says how the model should "
        "behave.",
        "What does a system prompt do?", "Where do I put instructions for the model?",
    ),
    topic(
        "the context length|context length|the context window|a context window",
        "The context length is the largest number of tokens that a model can look at. Prompt and "
        "answer must fit in it together.",
        "How many tokens can a model look at?", "What limits the length of a prompt?",
    ),
    topic(
        "a stop string|a stop sequence",
        "A stop string is a text that ends an answer as soon as the model writes it.",
        "How do I make the model stop at a word?",
    ),
    topic(
        "an end-of-sequence token|EOS|the EOS token",
        "The end-of-sequence token, or EOS, says that the answer is complete. The server stops "
        "when the model chooses it.",
        "What does EOS stand for?", "How does a model say that it is done?",
        "When does the model stop writing?",
    ),
    topic(
        "streaming|token streaming|a streamed answer",
        "Streaming means that each piece of an answer is sent as soon as it is made. The reader "
        "does not have to wait for the end.",
        "Why do answers come word by word?", "How does streaming help the reader?",
    ),
    topic(
        "SSE|server-sent events",
        "SSE means server-sent events: a way to send a stream of messages over HTTP. Each token "
        "of an answer travels in such an event.",
        "What does SSE stand for?", "How are tokens streamed over HTTP?",
    ),
    topic(
        "perplexity",
        "Perplexity measures how surprised a model is by a text. Lower is better.",
    ),
]

PHASES = [
    topic(
        "prefill|the prefill phase|the prefill stage",
        "Prefill is the first phase of a request: the model reads the whole prompt at once and "
        "fills the KV cache. It is limited by compute.",
        "What happens during prefill?", "Which phase reads the prompt?",
        "What is the first phase of a request?", "Is prefill limited by compute or by memory?",
    ),
    topic(
        "decode|the decode phase|decoding|the decode stage",
        "Decode is the second phase of a request: the model makes one new token in each step. It "
        "is limited by memory bandwidth.",
        "What happens during decode?", "Which phase makes the new tokens?",
        "What is the second phase of a request?", "Is decode limited by compute or by memory?",
        "Why is decode slow?",
    ),
    topic(
        "the difference between prefill and decode|prefill versus decode",
        "Prefill reads the whole prompt at once and is limited by compute. Decode makes one token "
        "per step and is limited by memory bandwidth.",
        "How do prefill and decode differ?", "Compare prefill and decode.",
        "Prefill or decode: what is the difference?",
    ),
    topic(
        "chunked prefill|prefill in chunks",
        "Chunked prefill cuts a long prompt into pieces and runs them over several steps. Other "
        "requests can then decode in between.",
        "Why is a long prompt cut into chunks?", "How do long prompts avoid blocking others?",
    ),
    topic(
        "TTFT|time to first token|the time to first token",
        "TTFT is the time to first token: how long a client waits until the answer begins. It is "
        "made of queueing and prefill.",
        "What does TTFT stand for?", "What does TTFT measure?", "How long until the answer begins?",
        "What does TTFT mean?",
    ),
    topic(
        "TPOT|time per output token|the time per output token",
        "TPOT is the time per output token: the mean time between tokens after the first one. It "
        "shows how fast an answer flows.",
        "What does TPOT stand for?", "What does TPOT measure?", "What does TPOT mean?",
        "How is TPOT computed?",
    ),
    topic(
        "ITL|inter-token latency|the inter-token latency",
        "ITL is the inter-token latency: the time between one token and the next. TPOT is its "
        "mean over an answer.",
        "What does ITL stand for?", "What does ITL measure?",
    ),
    topic(
        "latency",
        "Latency is the time that one request takes. Users feel it as waiting.",
        "How is latency different from throughput?",
    ),
    topic(
        "throughput",
        "Throughput is how much work a server does in a second, for example in tokens per second. "
        "Larger batches raise it.",
        "How do I raise throughput?", "What is measured in tokens per second?",
    ),
    topic(
        "goodput",
        "Goodput is the rate of requests that meet every latency goal. Requests that come too "
        "late do not count.",
        "What does goodput measure?", "How is goodput different from throughput?",
    ),
    topic(
        "an SLO|a service level objective",
        "An SLO is a service level objective: a goal such as a time to first token below one "
        "second.",
        "What does SLO stand for?",
    ),
    topic(
        "a percentile|the p99|p99 latency",
        "The p99 is the value that 99 of 100 requests stay below. It shows the slow cases that a "
        "mean would hide.",
        "What does p99 mean?",
    ),
]

BATCHING = [
    topic(
        "continuous batching|in-flight batching|dynamic batching",
        "Continuous batching lets requests join and leave the batch at every step. No request has "
        "to wait until the others are done.",
        "How does continuous batching work?", "Why is continuous batching useful?",
        "How can requests join a running batch?", "What is the benefit of continuous batching?",
    ),
    topic(
        "a batch|batching",
        "A batch is a group of requests that the model runs together. The weights are read once "
        "for all of them, so it raises throughput.",
        "Why are requests batched?", "Why does batching raise throughput?",
    ),
    topic(
        "the KV cache|a KV cache|KV caching|the key-value cache",
        "The KV cache holds the keys and values of all earlier tokens. With it the model does not "
        "compute them again for each new token.",
        "What does the KV cache store?", "Why is there a KV cache?", "What does KV stand for?",
        "How does the KV cache help?", "What is kept in the KV cache?",
        "Why does decode not recompute the prompt?",
    ),
    topic(
        "a KV block|KV blocks|a block of the KV cache|paged attention",
        "A KV block holds the keys and values of a fixed number of tokens. Blocks make it easy to "
        "share and free cache memory.",
        "Why is the KV cache split into blocks?", "How is KV memory managed?",
    ),
    topic(
        "the prefix cache|prefix caching|a prefix cache|prefix reuse",
        "The prefix cache keeps the KV blocks of prompts that were seen before. When a new prompt "
        "begins in the same way, that part needs no prefill.",
        "What does the prefix cache do?", "Why is a repeated prompt faster?",
        "How does prefix caching save time?", "How can two requests share a prompt?",
        "What is the benefit of the prefix cache?", "Why is the second request faster?",
    ),
    topic(
        "preemption|preempting a request",
        "Preemption means that a running request gives up its KV blocks for another one. Its "
        "tokens are computed again later.",
        "What happens when the KV cache is full?", "What if there is no KV memory left?",
    ),
    topic(
        "speculative decoding|speculation",
        "Speculative decoding lets a small model guess several tokens, which the large model "
        "checks in one step. It saves time when the guesses are right.",
        "How does speculative decoding work?", "How can a small model speed up a large one?",
    ),
    topic(
        "fairness|fairness between tenants",
        "Fairness means that one tenant cannot take all the capacity from the others.",
        "How is one user kept from blocking others?",
    ),
]

SAMPLING = [
    topic(
        "sampling|token sampling",
        "Sampling is the choice of the next token from the probabilities that the model gives. "
        "Temperature, top-k and top-p shape it.",
        "How is the next token chosen?", "How does a model choose a token?",
    ),
    topic(
        "temperature|the temperature|temperature in sampling",
        "Temperature sets how random the choice of the next token is. At 0 the most likely token "
        "is always taken.",
        "What does temperature do?", "How do I make answers less random?",
        "What happens at temperature 0?",
    ),
    topic(
        "top-k|top-k sampling|top k",
        "Top-k keeps only the k most likely tokens and samples among them.",
        "What does top-k do?",
    ),
    topic(
        "top-p|top-p sampling|nucleus sampling|top p",
        "Top-p keeps the smallest set of tokens whose probabilities add up to p, and samples "
        "among them.",
        "What does top-p do?",
    ),
    topic(
        "greedy decoding|greedy sampling",
        "Greedy decoding always takes the most likely token. It gives the same answer every time.",
        "How do I get the same answer each time?",
    ),
    topic(
        "a seed|a random seed|the seed",
        "A seed is the number that random choices start from. The same seed gives the same "
        "choices.",
        "What does the seed do?",
    ),
]

HARDWARE = [
    topic(
        "a GPU|the GPU",
        "A GPU is a processor that does many small computations at once. Large language models "
        "mostly run on GPUs.",
        "What does GPU stand for?", "Why do models run on GPUs?",
    ),
    topic(
        "CUDA",
        "CUDA is NVIDIA's platform for computing on GPUs. Trireme has a backend for it.",
        "What does CUDA do?",
    ),
    topic(
        "memory bandwidth",
        "Memory bandwidth is how many bytes a device can read from its memory in a second. It "
        "sets the speed of decode.",
        "Which limit sets the speed of decode?",
    ),
    topic(
        "a kernel|a GPU kernel",
        "A kernel is a small program that runs on a device, such as a matrix product.",
    ),
    topic(
        "a node|a cluster node",
        "A node is one machine of a cluster. It may have several GPUs.",
    ),
    topic(
        "a cluster",
        "A cluster is a group of machines that work together as one.",
    ),
    topic(
        "HTTP",
        "HTTP is the protocol that web clients and servers speak. Trireme's router answers it.",
        "What does HTTP stand for?",
    ),
    topic(
        "JSON",
        "JSON is a text format for data, made of objects, lists, strings and numbers.",
        "What does JSON look like?",
    ),
    topic(
        "an API|API",
        "An API is the set of requests that a program offers to other programs.",
        "What does API stand for?",
    ),
]

FIELD_TOPICS = TEXT + PHASES + BATCHING + MODEL_TOPICS + SAMPLING + HARDWARE
