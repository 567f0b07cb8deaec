"""What the demo model knows about models, and about splitting them over devices."""

from topic import topic

PARALLEL = [
    topic(
        "tensor parallelism|tensor parallel|TP|tensor parallel serving",
        "Tensor parallelism splits every layer's weights over several devices. Each device "
        "computes a part of every layer, and the parts are summed with an all-reduce.",
        "How does tensor parallelism work?", "What does TP stand for?", "What does tp mean?",
        "What does --tp do?", "How are layers split over GPUs?",
        "When should I use tensor parallelism?", "Which kind of parallelism splits each layer?",
    ),
    topic(
        "pipeline parallelism|pipeline parallel|PP|pipeline parallel serving",
        "Pipeline parallelism gives each device a group of whole layers, called a stage. Hidden "
        "states pass from one stage to the next.",
        "How does pipeline parallelism work?", "What does PP stand for?", "What does pp mean?",
        "What does --pp do?", "When should I use pipeline parallelism?",
        "Which kind of parallelism uses stages?",
    ),
    topic(
        "the difference between tensor and pipeline parallelism|TP versus PP",
        "Tensor parallelism splits each layer over devices, while pipeline parallelism gives each "
        "device whole layers. The first needs a fast link, the second needs less traffic.",
        "How do tensor and pipeline parallelism differ?",
        "Compare tensor parallelism and pipeline parallelism.", "Should I use TP or PP?",
    ),
    topic(
        "data parallelism|data parallel|DP",
        "Data parallelism runs several copies of a model, each with its own requests. In Trireme "
        "the copies are called replicas.",
        "What does DP stand for?", "Which kind of parallelism uses copies of the model?",
    ),
    topic(
        "expert parallelism|EP",
        "Expert parallelism puts the experts of a mixture-of-experts model on different devices.",
        "What does EP stand for?",
    ),
    topic(
        "a pipeline stage|a stage|a stage in a pipeline",
        "A pipeline stage is a group of layers that sits on one device or tensor group. A token "
        "passes through all stages in order.",
    ),
    topic(
        "a pipeline bubble|the pipeline bubble|a bubble",
        "A pipeline bubble is time in which a stage has nothing to do because it waits for "
        "another one. More micro-batches in flight make it smaller.",
        "How do I make the bubble smaller?", "Why do stages wait?",
    ),
    topic(
        "a micro-batch|micro-batches",
        "A micro-batch is a part of the batch that moves through the pipeline by itself. Several "
        "of them keep all stages busy.",
        "Why are there several micro-batches?",
    ),
    topic(
        "a collective|a collective operation|collectives",
        "A collective is an operation that a group of ranks does together, such as a sum over all "
        "of them. Trireme can use MPI, NCCL or threads in one process for it.",
        "Which collectives are there?",
    ),
    topic(
        "an all-reduce|all-reduce|allreduce",
        "An all-reduce sums a tensor over all ranks and gives every rank the result. Tensor "
        "parallelism needs it after each row-parallel layer.",
        "What does all-reduce do?", "How are the parts of a layer summed?",
    ),
    topic(
        "an all-gather|all-gather|allgather",
        "An all-gather collects the parts of a tensor from all ranks and gives every rank the "
        "whole.",
        "What does all-gather do?",
    ),
    topic(
        "a rank|a rank in MPI|an MPI rank",
        "A rank is one process in a parallel job, and also its number. Numbers begin at 0.",
        "What are ranks?", "What is a process in an MPI job called?",
    ),
    topic(
        "a shard|sharding|a sharded model",
        "A shard is the slice of the weights that one rank holds. Sharding lets a model run that "
        "is too large for one device.",
        "How can a model be too large for one GPU and still run?",
        "How does a big model fit on small GPUs?",
    ),
    topic(
        "a straggler|a slow rank",
        "A straggler is a rank that is slower than the others. All ranks wait for it, so Trireme "
        "has a metric that names it.",
        "What happens when one rank is slow?",
    ),
]

MODEL = [
    topic(
        "a language model|a large language model|an LLM|LLM",
        "A language model predicts the next token of a text. By doing so again and again it "
        "writes answers.",
        "What does LLM stand for?", "How does a language model write text?",
        "How do language models work?",
    ),
    topic(
        "inference|model inference",
        "Inference means running a trained model to get answers. Its weights do not change.",
        "How is inference different from training?",
    ),
    topic(
        "training|training a model",
        "Training is the process that finds the weights of a model from examples.",
    ),
    topic(
        "a transformer|the transformer architecture",
        "A transformer is a neural network built of layers with attention and feed-forward "
        "blocks. Most language models are transformers.",
        "Which network do most language models use?",
    ),
    topic(
        "attention|self-attention|the attention mechanism",
        "Attention lets each token look at the tokens before it and take what it needs. It uses "
        "queries, keys and values.",
        "How does attention work?", "What are queries, keys and values for?",
    ),
    topic(
        "an attention head|a head",
        "An attention head is one of several attentions that work side by side in a layer.",
    ),
    topic(
        "RoPE|rotary position embedding|rotary embeddings",
        "RoPE is rotary position embedding: it turns queries and keys by an angle that grows with "
        "the position. So attention knows how far apart two tokens are.",
        "What does RoPE stand for?", "How does RoPE work?",
        "How does a model know the position of a token?",
    ),
    topic(
        "GQA|grouped-query attention|grouped query attention",
        "GQA is grouped-query attention: several query heads share one pair of key and value "
        "heads. It makes the KV cache smaller.",
        "What does GQA stand for?", "Why do models use GQA?", "How does GQA save memory?",
    ),
    topic(
        "RMSNorm|RMS norm",
        "RMSNorm scales a vector by its root mean square. It keeps the values in a layer at a "
        "steady size.",
        "What does RMSNorm do?",
    ),
    topic(
        "SwiGLU|the SwiGLU activation",
        "SwiGLU is a feed-forward block in which one projection gates another. Llama models use "
        "it.",
        "What does SwiGLU do?",
    ),
    topic(
        "an embedding|a token embedding|embeddings",
        "An embedding is a vector that stands for a token. The first layer of a model looks it up.",
        "How does a token become a vector?",
    ),
    topic(
        "a logit|logits|the logits",
        "A logit is the score that a model gives to a possible next token. A softmax turns the "
        "logits into probabilities.",
        "What are logits?",
    ),
    topic(
        "softmax|the softmax",
        "Softmax turns a list of scores into probabilities that sum to one.",
        "What does softmax do?",
    ),
    topic(
        "a layer|a decoder layer",
        "A layer is one step of a model: attention followed by a feed-forward block. Large models "
        "have many of them.",
    ),
    topic(
        "a parameter|the parameters of a model|model weights",
        "A parameter is a number that a model learned in training. Together the parameters are "
        "called the weights.",
        "What are weights?", "What are parameters?",
    ),
    topic(
        "a mixture of experts|MoE|mixture-of-experts",
        "A mixture of experts has many feed-forward blocks, and each token uses only a few of "
        "them. So a large model can be cheap to run.",
        "What does MoE stand for?", "How does MoE work?",
    ),
    topic(
        "quantization|weight quantization|a quantized model",
        "Quantization stores weights with fewer bits, for example 4 or 8 instead of 16. It saves "
        "memory and bandwidth, at a small loss of accuracy.",
        "Why quantize a model?", "What does quantization do?", "How can I make a model smaller?",
        "How do I save memory on weights?", "Does quantization cost accuracy?",
    ),
    topic(
        "bf16|bfloat16",
        "bfloat16 is a number format with 16 bits: the range of a float with less precision. Most "
        "models are stored in it.",
        "How many bits does bfloat16 have?",
    ),
    topic(
        "safetensors|the safetensors format",
        "safetensors is a file format for weights. It is a small header and raw numbers, so "
        "reading it runs no code.",
        "Why is safetensors safe?",
    ),
    topic(
        "GGUF|the GGUF format",
        "GGUF is a file format that holds a whole model in one file, often quantized.",
    ),
    topic(
        "LoRA|a LoRA adapter",
        "LoRA is a small set of extra weights that changes what a model does without changing the "
        "model itself.",
        "What does LoRA stand for?",
    ),
]

MODEL_TOPICS = PARALLEL + MODEL
