#!/usr/bin/env python3
"""Holds exported models against transformers (PyTorch) and llama.cpp: the same ids, the same greedy tokens, the
same log probabilities.

Needs Go and what test/parity/run installs. Run from the repository's root:

    python3 test/parity/export.py            compare
    python3 test/parity/export.py --write    also renew models/native/hf/testdata (model and recorded answers)
"""
import argparse, json, os, shutil, subprocess, sys, tempfile
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, os.path.dirname(__file__))
from llamacpp import Model
from tokenizer import comparable, strings

GOLDEN = "models/native/hf/testdata"

def transformers_answers(folder, cases):
    """What transformers makes of the same prompts, in float32."""
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for c in cases:
        if "messages" in c:
            ids = tok.apply_chat_template(c["messages"], add_generation_prompt=True, tokenize=True, return_dict=False)
            text = tok.apply_chat_template(c["messages"], add_generation_prompt=True, tokenize=False)
        else:
            ids, text = tok(c["text"], add_special_tokens=False).input_ids, c["text"]
        greedy, logprobs, margin = [], [], []
        with torch.no_grad():
            for _ in range(len(c["greedy"])):
                logits = model(torch.tensor([ids + greedy])).logits[0, -1].double()
                best = torch.topk(logits, 2).values
                greedy.append(int(logits.argmax()))
                logprobs.append(float(torch.log_softmax(logits, -1).max()))
                margin.append(float(best[0] - best[1]))
        yield {**{k: c[k] for k in ("text", "messages") if k in c}, "ids": ids, "greedy": greedy,
               "logprobs": [round(x, 6) for x in logprobs], "margin": min(margin), "rendered": text}


def compare(name, ours, theirs):
    worst, good = 0.0, True
    for o, t in zip(ours, theirs):
        if o["ids"] != t["ids"] or o["greedy"] != t["greedy"]:
            good = False
            print(f"  {name}: {o.get('text') or o.get('messages')}\n   ours   {o['ids']} {o['greedy']}\n   theirs {t['ids']} {t['greedy']}")
        worst = max(worst, *(abs(a - b) for a, b in zip(o["logprobs"], t["logprobs"])))
    print(f"  {name} against transformers: {sum(len(o['greedy']) for o in ours)} greedy tokens, largest difference of a log probability {worst:.2e}")
    return good and worst < 1e-3


def reads_back(folder, ours, dtype):
    """This engine reads what transformers saves: sharded, with its newer file layout, in any of the dtypes."""
    with tempfile.TemporaryDirectory() as tmp:
        AutoTokenizer.from_pretrained(folder).save_pretrained(f"{tmp}/tiny")
        AutoModelForCausalLM.from_pretrained(folder).to(dtype).save_pretrained(f"{tmp}/tiny", max_shard_size="50KB")
        with open(f"{tmp}/tiny-golden.json", "w", encoding="utf-8") as f:
            json.dump(list(transformers_answers(f"{tmp}/tiny", ours)), f)
        p = subprocess.run(["go", "test", "./models/native/hf", "-run", "TestAnswersAsTransformersDoes", "-count=1"],
                           env={**os.environ, "TRIARCH_IMPORT": tmp}, capture_output=True, text=True)
    print(f"  saved by transformers as {dtype}: {'reads and answers the same' if p.returncode == 0 else p.stdout}")
    return p.returncode == 0


def llama_cpp(path, folder, answers):
    """Tokenization and greedy tokens of llama.cpp; answers come from transformers."""
    fast = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    texts = [s for s in strings(12000, 7) if s and comparable(fast, s) and (fast.normalizer is None or fast.normalizer.normalize_str(s) == s)][:10000]
    model = Model(path)
    wrong = [(s, e.ids, model.tokenize(s, False)) for s, e in zip(texts, fast.encode_batch(texts, add_special_tokens=False))]
    wrong = [w for w in wrong if w[1] != w[2]]
    for s, a, b in wrong[:6]:
        print(f"  llama.cpp splits {s!r} otherwise:\n   {a}\n   {b}")
    rendered = sum(a["ids"] == model.tokenize(a["rendered"], True) for a in answers)
    greedy = sum(a["greedy"] == model.greedy(a["ids"], len(a["greedy"])) for a in answers)
    print(f"  llama.cpp: {len(texts) - len(wrong)} of {len(texts)} texts and {rendered} of {len(answers)} rendered prompts have the same ids, "
          f"{greedy} of {len(answers)} prompts the same {len(answers[0]['greedy'])} greedy tokens")
    return not wrong and rendered == greedy == len(answers)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--write", action="store_true")
    a = a.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["go", "test", "./models/native/gguf", "-run", "TestExport", "-count=1"],
                       env={**os.environ, "TRIARCH_EXPORT": tmp}, check=True, stdout=subprocess.DEVNULL)
        for name in ("tiny", "tied-f32", "untied-f32", "llama3", "qwen2", "digits", "gpt2"):
            ours = json.load(open(f"{tmp}/{name}.json"))
            theirs = list(transformers_answers(f"{tmp}/{name}", ours))
            good &= compare(name, ours, theirs)
            good &= all(reads_back(f"{tmp}/{name}", ours, dt) for dt in (torch.float32, torch.bfloat16, torch.float16))
            good &= llama_cpp(f"{tmp}/{name}.gguf", f"{tmp}/{name}", theirs)
            if a.write and name == "tiny":
                shutil.rmtree(f"{GOLDEN}/tiny", ignore_errors=True)
                shutil.copytree(f"{tmp}/{name}", f"{GOLDEN}/tiny")
                with open(f"{GOLDEN}/tiny-golden.json", "w", encoding="utf-8") as f:
                    json.dump(theirs, f, ensure_ascii=False, indent=1)
                    f.write("\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
