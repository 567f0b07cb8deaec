#!/usr/bin/env python3
"""Makes tests/golden/tokenizers/parts.jsonl: every part that a tokenizer.json may have, one at a time.

Each line is a small tokenizer and what the `tokenizers` package (0.23.3) makes of texts and of ids. Normalizers and
pre-tokenizers are seen through a WordLevel model whose vocabulary is the words that they produce. Texts are random, seeded.
Usage: make_tokenizer_parts.py OUT.jsonl, with tokenizers==0.23.3 installed.
"""
import base64
import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

RANDOM = random.Random(20)
INTERESTING = [chr(c) for c in (
    0x20, 0x20, 0x20, 0x20, 9, 10, 13, 0, 0x1F, 0x7F, 0x85, 0xA0, 0x3000, 0x200B, 0x200D, 0xFEFF, 0xFFFD, 0x2581, 0x2581,
    0xE9, 0x301, 0x323, 0x1E69, 0xFB01, 0x2460, 0x130, 0x1C5, 0x3A3, 0x4E00, 0x3400, 0xAC01, 0x1100, 0x1161, 0x11A8, 0x928,
    0x93C, 0x5D0, 0x5B7, 0x1F600, 0x1F468, 0x1F3FD, 0xBD, 0x661, 0x2167, 0x2E4F, 0x3001, 0xFF01, 0x11938, 0x1D15F)]
INTERESTING += list("aabbcdeezABC019_-.,!?'\"$+<=>^`|~#@()[]{}/\\*&%:;")


def random_text():
    return "".join(RANDOM.choice(INTERESTING) for _ in range(RANDOM.randint(0, 24)))


TEXTS = ["", " ", "Hello World!", " x", "x ", "a  b", "e\u0301e\u0301 \u212b \ufb01", "\u2581a \u2581b", "1a22b333", "a-b--c---d",
         "it's 'quoted' do not", "\r\n\r\nx\t", "\u4f60\u597d world", "abc" * 9] + [random_text() for _ in range(36)]


def charsmap(entries):
    """A precompiled character map in Darts-clone's layout, built by placing each node where it fits."""
    texts, offsets = b"", {}
    for to in sorted(set(entries.values())):
        offsets[to] = len(texts)
        texts += to.encode() + b"\0"
    trie = {}
    for key, to in entries.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = offsets[to]
    units = {0: [0, False]}  # position: [unit, taken]
    used = {0}
    pending = [(0, trie)]
    while pending:
        at, node = pending.pop()
        children = [b for b in node if b is not None]
        labels = ([0] if None in node else []) + children
        base = 1
        while any((base ^ label) in used for label in labels) or not 0 < (at ^ base) < 1 << 21:
            base += 1
        used.update(base ^ label for label in labels)
        unit = units.get(at, [0])[0] | ((at ^ base) << 10) | (0x100 if None in node else 0)
        units[at] = [unit]
        if None in node:
            units[base] = [node[None] | 1 << 31]
        for byte in children:
            units[base ^ byte] = [byte]
            pending.append((base ^ byte, node[byte]))
    size = (max(units) | 255) + 1
    array = b"".join(units.get(i, [0])[0].to_bytes(4, "little") for i in range(size))
    return len(array).to_bytes(4, "little") + array + texts


MAP = charsmap({"\ufb01": "fi", "\t": " ", "\n": " ", "\u3000": " ", "\u200b": "", "\u2460": "(1)", "e\u0301": "\u00e9", "A": "a",
                "\uff01": "!", "\u00bd": "1/2", "\U0001f468": "", "\u093c": "", "ab": "X"})

NORMALIZERS = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(), "StripAccents": normalizers.StripAccents(), "Nmt": normalizers.Nmt(),
    "NFD, StripAccents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "Strip": normalizers.Strip(), "Strip left": normalizers.Strip(right=False), "Strip right": normalizers.Strip(left=False),
    "Prepend": normalizers.Prepend("\u2581"), "Replace": normalizers.Replace("a", "xyz"), "Replace to nothing": normalizers.Replace(" ", ""),
    "Replace regex": normalizers.Replace(Regex(r"\s{2,}|[0-9]+"), "_"), "ByteLevel": normalizers.ByteLevel(),
    "Bert": normalizers.BertNormalizer(), "Bert cased": normalizers.BertNormalizer(lowercase=False),
    "Bert accents": normalizers.BertNormalizer(lowercase=True, strip_accents=False),
    "Bert plain": normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False),
    "Precompiled": normalizers.Precompiled(MAP),
    "Sequence": normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("e", "")]),
}
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
P = pre_tokenizers
PRE_TOKENIZERS = {"none": None, "BertPreTokenizer": P.BertPreTokenizer(), "Whitespace": P.Whitespace(), "WhitespaceSplit": P.WhitespaceSplit(),
                  "CharDelimiterSplit": P.CharDelimiterSplit("-"), "Digits": P.Digits(), "Digits each": P.Digits(individual_digits=True),
                  "FixedLength": P.FixedLength(3),
                  "ByteLevel": P.ByteLevel(), "ByteLevel bare": P.ByteLevel(add_prefix_space=False, use_regex=False),
                  "ByteLevel inside": P.Sequence([P.ByteLevel(add_prefix_space=False), P.Digits()]),
                  "Sequence": P.Sequence([P.WhitespaceSplit(), P.Punctuation(), P.Digits(individual_digits=True)])}
for scheme in ("always", "first", "never"):
    for split in (True, False):
        PRE_TOKENIZERS[f"Metaspace {scheme} {split}"] = P.Metaspace(prepend_scheme=scheme, split=split)
for behavior in BEHAVIORS:
    PRE_TOKENIZERS[f"Punctuation {behavior}"] = P.Punctuation(behavior)
    for invert in (False, True):
        PRE_TOKENIZERS[f"Split {behavior} {invert}"] = P.Split(Regex(r"\d+|[ -]"), behavior, invert)
        PRE_TOKENIZERS[f"Split text {behavior} {invert}"] = P.Split("b", behavior, invert)


def pieces_of(normalizer, pre_tokenizer, text):
    text = normalizer.normalize_str(text) if normalizer else text
    return [p for p, _ in pre_tokenizer.pre_tokenize_str(text)] if pre_tokenizer else [text]


def encode_cases(tokenizer, texts):
    cases = []
    for text in texts:
        e = tokenizer.encode(text)
        cases.append({"text": text, "ids": e.ids, "offsets": e.offsets})
    return cases


def decode_cases(tokenizer, n=40, longest=8):
    size = tokenizer.get_vocab_size()
    lists = [[i] for i in range(size)] + [[RANDOM.randrange(size) for _ in range(RANDOM.randint(0, longest))] for _ in range(n)]
    cases = []
    for ids in lists:
        try:
            cases.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
        except BaseException as error:  # a panic of the library has no other base: such input has no reference
            if type(error).__name__ != "PanicException":
                raise
    return cases


def word_level(name, normalizer=None, pre_tokenizer=None, post=None, added=()):
    words = sorted({p for t in TEXTS for p in pieces_of(normalizer, pre_tokenizer, t)} - {"", "<unk>"})
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>"] + words)}, unk_token="<unk>"))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if post:
        tokenizer.post_processor = post
    if added:
        tokenizer.add_tokens(list(added))
    return line(name, tokenizer, encode=TEXTS)


def line(name, tokenizer, encode=(), decode=False):
    tokenizer = Tokenizer.from_str(tokenizer.to_str())  # without what it has cached under other settings
    return {"name": name, "tokenizer": json.loads(tokenizer.to_str()), "encode": encode_cases(tokenizer, encode),
            "decode": decode_cases(tokenizer) if decode else []}


D = decoders
DECODERS = {
    "none": None, "ByteLevel": D.ByteLevel(), "WordPiece": D.WordPiece(), "WordPiece no cleanup": D.WordPiece(cleanup=False),
    "Metaspace": D.Metaspace(), "Metaspace never": D.Metaspace(prepend_scheme="never"), "BPEDecoder": D.BPEDecoder(), "CTC": D.CTC(),
    "CTC no cleanup": D.CTC(cleanup=False), "Fuse": D.Fuse(), "Strip left": D.Strip("h", 1, 0), "Strip right": D.Strip(" ", 0, 2),
    "Replace": D.Replace("l", ""), "Replace regex": D.Replace(Regex("[lo]+"), "0"), "ByteFallback": D.ByteFallback(),
    "Llama": D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
    "Both ends": D.Sequence([D.Replace("\u2581", " "), D.Fuse(), D.Strip(" ", 1, 2)]),
    "Replaced suffix": D.Sequence([D.BPEDecoder(), D.Replace("o", "0"), D.Fuse()]),
}
DECODED = ["<pad>", "hello", "\u2581world", "</w>", "hel</w>", "lo</w>", "##s", ".", "'s", " n't", "|", "\u2581", "\u2581\u2581a", " b ", "  ", "do not",
           "<0x0A>", "<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "\u0120x", "\u0109", "\u00e4\u00bd\u0142", "\u00e4\u00bd", "oo", "\u00e9"]


def model_lines():
    corpus = ["the lower newer wider lowest newest widest \u00e9t\u00e9 na\u00efve 12 123", "lower lowest new newer", "wide wider widest"] * 20
    texts = ["lower", "widest newest", "the end", "n\u00e9 12", "qqq", "lowqer", "\u4f60\u597d", "\u00e9t\u00e9", "newnew" * 30, "e", ""]
    for prefix, suffix in (("##", ""), ("", "</w>"), ("##", "</w>")):
        args = {"continuing_subword_prefix": prefix} if prefix else {}
        args.update({"end_of_word_suffix": suffix} if suffix else {})
        bpe = Tokenizer(models.BPE(unk_token="<unk>", **args))
        bpe.pre_tokenizer = P.Whitespace()
        bpe.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], **args))
        yield line(f"BPE {prefix} {suffix}", bpe, encode=texts)
        bpe.model.fuse_unk = True
        yield line(f"BPE {prefix} {suffix} fuse_unk", bpe, encode=texts)
    pieces = [("<unk>", 0.0), ("a", -2.0), ("ab", -1.5), ("b", -2.5), ("abc", -9.0), ("\u4f60", -3.0), ("cc", -1.0)]
    for fallback in (False, True):
        vocab = pieces + ([(f"<0x{b:02X}>", -8.0) for b in range(256)] if fallback else [])
        unigram = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=fallback))
        yield line(f"Unigram byte_fallback={fallback}", unigram,
                   encode=["abab", "abcab", "xabx", "xyzab", "\u4f60\u597d\u4f60", "ccc", "<unk>", "a<unk>xb", "", "ab" * 60])
    words = ["[UNK]", "un", "##able", "##a", "##ab", "able", "\u4f60", "##\u597d", "##", "x", "##x"]
    for limit in (100, 3):
        wordpiece = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]", max_input_chars_per_word=limit))
        wordpiece.pre_tokenizer = P.WhitespaceSplit()
        yield line(f"WordPiece limit {limit}", wordpiece, encode=["unable", "una able", "unab unabx", "\u4f60\u597d \u597d", "x" * 100, "x" * 101, "", "##a"])


def lines():
    for name, normalizer in NORMALIZERS.items():
        yield word_level(f"normalizer {name}", normalizer, P.WhitespaceSplit())
    for name, pre_tokenizer in PRE_TOKENIZERS.items():
        yield word_level(f"pre-tokenizer {name}", None, pre_tokenizer)
    yield word_level("normalizer and Metaspace", normalizers.Sequence([normalizers.Strip(), normalizers.NFKC()]), P.Metaspace(prepend_scheme="first"))
    tokens = [("[CLS]", 0), ("[SEP]", 1)]
    split = P.WhitespaceSplit()
    yield word_level("post BertProcessing", None, split, processors.BertProcessing(tokens[1], tokens[0]))
    yield word_level("post RobertaProcessing", None, P.ByteLevel(), processors.RobertaProcessing(tokens[1], tokens[0]))
    yield word_level("post Roberta untrimmed", None, P.ByteLevel(), processors.RobertaProcessing(tokens[1], tokens[0], trim_offsets=False))
    yield word_level("post ByteLevel", None, P.ByteLevel(), processors.ByteLevel(trim_offsets=True))
    yield word_level("post ByteLevel no prefix", None, P.ByteLevel(add_prefix_space=False), processors.ByteLevel(trim_offsets=True, add_prefix_space=False))
    inner = processors.TemplateProcessing(single="[A] $0 [B]", special_tokens=[("[A]", 2), ("[B]", 3)])
    yield word_level("post TemplateProcessing", None, split, inner)
    yield word_level("post Sequence", None, P.ByteLevel(), processors.Sequence([processors.ByteLevel(), inner]))
    odd = [AddedToken("ab", lstrip=True, normalized=False), AddedToken("\u00c9c", normalized=True), AddedToken("B", single_word=True, normalized=False),
           AddedToken("--", rstrip=True, normalized=False), AddedToken("bb", normalized=True), AddedToken("a", normalized=False, single_word=True)]
    yield word_level("added tokens", normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()]), split, None, odd)
    yield from model_lines()
    for name, decoder in DECODERS.items():
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(DECODED)}, unk_token="<pad>"))
        if decoder:
            tokenizer.decoder = decoder
        yield line(f"decoder {name}", tokenizer, decode=True)


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="ascii") as out:
        for item in lines():
            out.write(json.dumps(item, separators=(",", ":")) + "\n")
