#!/usr/bin/env python3
"""Encoding speed of ours and of the `tokenizers` package, one thread each, alternating in one run, same texts, same ids.

    tokenizers_compare.py BUILD_DIR [--seconds 2] [--only NAME] [--venv DIR]

Makes a venv with tokenizers 0.23.3 (skips with its reason where the package index is not reached). Texts: English prose
(Python's own help), code (Python's library) and Chinese (sentences of the goldens, shuffled). Tokenizers: the goldens, whose
vocabularies are small, and a 32,000-entry byte-level BPE trained here. The reference is timed by whichever of its calls is
faster: encode, or encode_batch_fast, which makes no offsets. Ours makes ids, as the server does. One JSON line per pair.
"""
import argparse
import glob
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
GOLDENS = os.path.join(ROOT, "tests/golden/tokenizers")
PACKAGE = "tokenizers==0.23.3"
NAMES = ["gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "deepseek_v3", "o200k", "starcoder", "unigram_t5", "unigram_xlmr", "wordpiece"]


def enter_venv(folder):
    python = os.path.join(folder, "bin/python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    have = subprocess.run([python, "-c", "import tokenizers"], capture_output=True).returncode == 0
    if not have and subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE]).returncode != 0:
        print(f"skipped: {PACKAGE} could not be installed", file=sys.stderr)
        sys.exit(0)
    os.environ.update(TRIREME_BENCH_VENV="1", TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
    os.execv(python, [python] + sys.argv)


def cut(text, size=8000):
    return [text[i:i + size] for i in range(0, len(text), size)]


def texts():
    import pydoc_data.topics as topics
    library = os.path.dirname(os.__file__)
    prose = "\n".join(topics.topics.values())[:600_000]
    code = ""
    for path in sorted(glob.glob(library + "/*.py")):
        code += open(path, encoding="utf-8", errors="replace").read()
        if len(code) > 600_000:
            break
    sentences = set()
    for path in glob.glob(GOLDENS + "/*/cases.jsonl"):
        for line in open(path, encoding="ascii"):
            text = json.loads(line)["text"]
            cjk = sum("\u3000" <= c <= "\u9fff" for c in text)
            if len(text) > 8 and cjk > 0.8 * len(text):
                sentences.add(text)
    ordered, source, chinese = sorted(sentences), random.Random(5), ""
    while len(chinese) < 200_000:
        chinese += source.choice(ordered) + source.choice(["\uff0c", "\u3002", "\n", " "])
    return {"prose": cut(prose), "code": cut(code[:600_000]), "chinese": cut(chinese, 3000)}


def train_big(documents, path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    with open(os.path.join(GOLDENS, "llama3/tokenizer.json"), encoding="utf-8") as file:
        pattern = json.load(file)["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    from tokenizers import Regex
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=32_000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(path)


def id_hash(all_ids):
    value = 0
    for ids in all_ids:
        for i in ids:
            value = (value * 1_000_003 + i) % ((1 << 31) - 1)
    return value


class Reference:
    def __init__(self, path, documents):
        from tokenizers import Tokenizer
        self.tokenizer, self.documents, self.best = Tokenizer.from_file(path), documents, {}
        self.hash = id_hash([self.tokenizer.encode(d).ids for d in documents])

    def run(self, seconds):
        calls = {"encode": lambda: [self.tokenizer.encode(d) for d in self.documents],
                 "encode_batch_fast": lambda: self.tokenizer.encode_batch_fast(self.documents)}
        for name, call in calls.items():
            end = time.perf_counter() + seconds / 2
            while True:
                begin = time.perf_counter()
                call()
                self.best[name] = min(self.best.get(name, 1e30), time.perf_counter() - begin)
                if time.perf_counter() > end:
                    break


def compare(build, name, path, kind, documents, seconds, machine):
    size = sum(len(d.encode()) for d in documents)
    reference = Reference(path, documents)
    ours, info = 1e30, {}
    with tempfile.NamedTemporaryFile() as file:
        file.write("\0".join(d.replace("\0", " ") for d in documents).encode())
        file.flush()
        for _ in range(2):
            reference.run(seconds / 2)
            out = subprocess.run([os.path.join(build, "bin/encode_speed"), path, file.name, str(seconds / 2)],
                                 check=True, capture_output=True, text=True).stdout
            info = json.loads(out)
            ours = min(ours, info["seconds"])
    theirs_call = min(reference.best, key=reference.best.get)
    theirs = reference.best[theirs_call]
    print(json.dumps({"bench": "encode", "tokenizer": name, "text": kind, "figure": round(size / ours / 1e6, 2), "unit": "MB/s",
                      "reference": round(size / theirs / 1e6, 2), "reference_call": f"{PACKAGE} {theirs_call}",
                      "ratio": round(theirs / ours, 2), "tokens_per_s": round(info["ids"] / ours),
                      "same_ids": info["hash"] == reference.hash, "threads": 1, **machine}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only")
    parser.add_argument("--venv", default=os.path.join(ROOT, "build/venv-tokenizers"))
    args = parser.parse_args()
    if "TRIREME_BENCH_VENV" not in os.environ:
        enter_venv(args.venv)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    machine = {"machine": model, "commit": commit}
    kinds = texts()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(GOLDENS, name, "tokenizer.json") for name in NAMES}
        if args.only in (None, "trained_32k"):
            paths["trained_32k"] = os.path.join(folder, "tokenizer.json")
            train_big([d for documents in kinds.values() for d in documents], paths["trained_32k"])
        for name, path in paths.items():
            if args.only not in (None, name):
                continue
            for kind, documents in kinds.items():
                compare(args.build, name, path, kind, documents, args.seconds, machine)


if __name__ == "__main__":
    main()
