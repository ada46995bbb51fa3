#!/usr/bin/env python3
"""Asks transformers (PyTorch) and llama.cpp, both in float32, for 64 greedy tokens after each of ten prompts and writes
them down when the two agree on every token; test/parity's Go test holds the embedded engine to them.

    greedy.py MODEL_FOLDER MODEL.gguf GOLDEN.json
"""
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamacpp import Model

TOKENS = 64
PROMPTS = [
    [{"role": "user", "content": "What is a deployment?"}],
    [{"role": "user", "content": "explain the ledger in one sentence"}],
    [{"role": "user", "content": "什么是调度器？"}],
    [{"role": "user", "content": "请解释一下配额是什么意思"}],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "what does checkpoint mean"}],
    [{"role": "user", "content": "What is a replica?"}, {"role": "assistant", "content": "One running copy of a model."}, {"role": "user", "content": "And a 租户?"}],
    [{"role": "user", "content": "how do I bake bread 🍞 at 220 °C?"}],
    "The gateway",
    "模型的训练",
    "func main() {\n\tfmt.Println(\"🙂 x² ≤ 12\")\n",
]


def transformers_greedy(model, ids):
    """Tokens, and the smallest distance between the best and the second best logit."""
    out, margin = list(ids), float("inf")
    with torch.no_grad():
        for _ in range(TOKENS):
            best = torch.topk(model(torch.tensor([out])).logits[0, -1], 2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            out.append(int(best.indices[0]))
    return out[len(ids):], margin


def main():
    folder, gguf, golden = sys.argv[1:]
    torch.set_num_threads(1)
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    llama = Model(gguf)
    cases, good = [], True
    for prompt in PROMPTS:
        case = {"text": prompt} if isinstance(prompt, str) else {"messages": prompt}
        rendered = prompt if isinstance(prompt, str) else tok.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        ids = tok(rendered, add_special_tokens=False).input_ids
        greedy, margin = transformers_greedy(model, ids)
        theirs, split = llama.greedy(ids, TOKENS), llama.tokenize(rendered, True)
        same = sum(a == b for a, b in zip(greedy, theirs))
        print(f"  {same} of {TOKENS} tokens, ids {'the same' if split == ids else 'DIFFER'}, smallest margin {margin:.4f}: {tok.decode(greedy)[:60]!r}")
        good &= same == TOKENS and split == ids
        cases.append({**case, "ids": ids, "greedy": greedy, "margin": round(margin, 4)})
    if not good:
        sys.exit("transformers and llama.cpp disagree: no golden written")
    with open(golden, "w", encoding="utf-8") as f:
        json.dump({"transformers": transformers.__version__, "llama_cpp": "v0.5.0", "cases": cases}, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
