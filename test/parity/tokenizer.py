#!/usr/bin/env python3
"""Holds models/native/tokenizer against the Hugging Face libraries.

Needs: tokenizers, transformers, jinja2 (any recent version); Go. Run from the root of the repository:

    python3 test/parity/tokenizer.py            compare on 10,000 strings for each kind of tokenizer
    python3 test/parity/tokenizer.py --write    also renew the small goldens in models/native/tokenizer/testdata

Cases go to the Go side as lines of JSON; TestParity encodes, decodes and renders them and compares.
"""
import argparse, json, os, random, subprocess, sys, tempfile, unicodedata
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

DATA = "models/native/tokenizer/testdata"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPECIALS = {
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "digits-gpt2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "gpt2": ["<|endoftext|>"],
}


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def foreign(kind):
    """Trains a small tokenizer of a foreign kind on the same corpus."""
    t = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    split = lambda r: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r), "isolated"), byte_level(False)])
    t.pre_tokenizer = {
        "gpt2": lambda: byte_level(True),
        "digits-gpt2": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
        "llama3": lambda: split(LLAMA3),
        "qwen2": lambda: split(QWEN2),
    }[kind]()
    if kind == "qwen2":
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=SPECIALS[kind], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train([f"{DATA}/corpus.txt"], trainer)
    if kind == "qwen2":
        t.add_tokens([AddedToken("<think>", normalized=False, special=False), AddedToken("<thinking>", normalized=False, special=False)])
    return t


POOL = (
    list("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 \n\t'\"!?.,;:-_()[]{}<>|/\\@#$%^&*+=~`")
    + "的一是不了在人有我他这中大来上个国学习模型调度器账本々〇㐀鿿豈𠀀𪚥⺀⼀〆〻".replace("", " ").split()
    + "のはがをにこれカタカナー한국어감사Русскийязыкالعربيةहिन्दीไทยวันἀñéüßøœ".replace("", " ").split()
    + ["  ", "   ", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\x00", "\u200b", "\ufeff"]
    + ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'Ll", "'ſ", "’s", "''s", " 's", "1's", "中's"]
    + ["e\u0301", "n\u0303", "\u0301", "ａ", "ﬁ", "İ", "ǆ", "ʰ", "ˢ", "\u0e33", "\u1100\u1161", "가"]
    + ["12", "3.14", "1,000", "2026-11-22", "½", "Ⅳ", "①", "²", "٣", "१२", "𝟘", "一二三", "万"]
    + ["🙂", "👍🏽", "👨\u200d👩\u200d👧", "🇨🇳", "❤️", "…", "—", "“", "”", "「", "」", "。", ",", "!", "€", "∑", "\ufffd", "\U0010ffff", "\ue000"]
    + ["hello", " world", "the ", "token", "func main()", "http://a.b/c?d=1", "<|im_start|", "|>", "<think>", "<thin", "<thinking>x"]
)


def strings(n, seed):
    rng = random.Random(seed)
    lines = open(f"{DATA}/corpus.txt", encoding="utf-8").read().splitlines()
    yield ""
    for i in range(n - 1):
        kind = i % 5
        if kind == 0:
            yield rng.choice(lines)[rng.randrange(20):][: rng.randrange(1, 80)]
        elif kind == 1:  # any characters at all
            chars = (chr(rng.randrange(0x3000)) for _ in range(rng.randrange(1, 20)))
            yield "".join(c for c in chars if unicodedata.category(c) != "Cn")
        elif kind == 2:  # Han with its neighbours
            yield "".join(rng.choice([chr(rng.randrange(0x4E00, 0xA000)), chr(rng.randrange(0x3040, 0x3100)), " ", "a", "1"]) for _ in range(rng.randrange(1, 25)))
        else:
            yield "".join(rng.choice(POOL) for _ in range(rng.randrange(1, 30)))


def conversations(n, seed):
    rng = random.Random(seed)
    texts = [s for s in strings(400, seed + 1) if not any("<|" in s or "<think" in s for _ in [0])]
    for _ in range(n):
        msgs = [{"role": "system", "content": rng.choice(texts)}] if rng.random() < 0.4 else []
        for i in range(rng.randrange(1, 5)):
            msgs.append({"role": "assistant" if i % 2 else "user", "content": rng.choice(texts)})
        yield msgs, rng.random() < 0.5


def templates():
    """The templates of the Go package, by name, from its own source of truth: the test binary prints them."""
    out = subprocess.run(["go", "test", "./models/native/tokenizer", "-run", "TestParity", "-count=1", "-v"],
                         env={**os.environ, "TRIARCH_PARITY": "templates"}, capture_output=True, text=True, check=True).stdout
    return json.loads(next(line for line in out.splitlines() if line.startswith('{"templates"')))["templates"]


def chat_cases(kind, tok, n, seed):
    for name, jinja in templates().items():
        need = {"own": "own", "chatml": "qwen2", "smollm": "digits-gpt2", "llama3": "llama3"}[name]
        if need != kind:
            continue
        fast = PreTrainedTokenizerFast(tokenizer_object=tok, chat_template=jinja, bos_token={"llama3": "<|begin_of_text|>", "own": "<|bos|>"}.get(name))
        for msgs, gen in conversations(n, seed):
            ids = fast.apply_chat_template(msgs, add_generation_prompt=gen, tokenize=True, return_dict=False)
            yield {"template": name, "messages": msgs, "generation_prompt": gen, "ids": ids}


def comparable(tok, s):
    """Leaves out text that spells a special token, which the Go side takes as plain text by design, text with code
    points that only some of the Unicode tables at work have assigned, and text whose normal form the library
    computes from older tables."""
    if any(unicodedata.category(c) == "Cn" for c in s):
        return False
    if any(a.special and a.content in s for a in tok.get_added_tokens_decoder().values()):
        return False
    return tok.normalizer is None or tok.normalizer.normalize_str(s) == unicodedata.normalize("NFC", s)


def pieces(tok, s):
    """Lengths in bytes of the pieces before merging."""
    if tok.normalizer is not None:
        s = tok.normalizer.normalize_str(s)
    return [len(p) for p, _ in tok.pre_tokenizer.pre_tokenize_str(s)]


def cases(kind, tok, n, chats, seed):
    batch = [s for s in strings(n + n // 20, seed) if comparable(tok, s)][:n]
    for s, e in zip(batch, tok.encode_batch(batch, add_special_tokens=False)):
        yield {"text": s, "ids": e.ids, "pieces": pieces(tok, s), "decoded": tok.decode(e.ids, skip_special_tokens=True)}
    yield from chat_cases(kind, tok, chats, seed)


def sweep(tok):
    """Every code point among letters, digits, signs and spaces: finds differences between Unicode tables."""
    known = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    for start in range(0, len(known), 16):
        s = "".join(f"a{chr(c)}b {chr(c)}!{chr(c)}  {chr(c)} 1{chr(c)}2" for c in known[start : start + 16])
        if comparable(tok, s):
            yield {"text": s, "ids": tok.encode(s, add_special_tokens=False).ids, "pieces": pieces(tok, s), "code_point": known[start]}


def run_go(kind, lines):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8", delete=False) as f:
        for line in lines:
            f.write(json.dumps(line, ensure_ascii=False) + "\n")
    p = subprocess.run(["go", "test", "./models/native/tokenizer", "-run", "TestParity", "-count=1", "-v"],
                       env={**os.environ, "TRIARCH_PARITY": f"{kind}:{f.name}"}, capture_output=True, text=True)
    os.unlink(f.name)
    print(kind, "ok" if p.returncode == 0 else "DIFFERS", *[l.strip() for l in p.stdout.splitlines() if "parity" in l][:12], sep="\n  ")
    return p.returncode == 0


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--write", action="store_true")
    a.add_argument("--n", type=int, default=10000)
    a = a.parse_args()
    good = True
    for kind in ["own", "gpt2", "digits-gpt2", "llama3", "qwen2"]:
        path = f"{DATA}/tokenizer.json" if kind == "own" else f"{DATA}/foreign-{kind}.json"
        if kind != "own" and a.write:
            foreign(kind).save(path, pretty=False)
        tok = Tokenizer.from_file(path)
        if a.write:
            with open(f"{DATA}/golden-{kind}.jsonl", "w", encoding="utf-8") as f:
                for line in cases(kind, tok, 150, 12, 1):
                    f.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        good &= run_go(kind, cases(kind, tok, a.n, 300, 2))
        if kind in ("own", "gpt2", "llama3"):
            print("every code point:", end=" ")
            good &= run_go(kind, sweep(tok))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
