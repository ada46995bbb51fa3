#!/usr/bin/env python3
"""Trains the benchmark's model in eager PyTorch on one thread and tells what it took: pytorch.py INPUTS, then one JSON
object a line in and one out. Written to be fast in either generation of PyTorch: angles and masks are made once, and
where the version has them, its own attention, norm and fused optimiser do the work.
"""
import json
import os
import pathlib
import resource
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "parity"))
from trajectory import read_safetensors

MODERN = hasattr(F, "rms_norm")


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


class Trainer:
    def __init__(self, folder):
        self.c = json.loads((folder / "inputs.json").read_text())
        self.w = read_safetensors(folder / "model" / "model.safetensors")
        c = self.c
        self.rows, self.length = c["rows"], c["length"]
        shape = (self.rows, self.length)
        self.batches = [tuple(torch.tensor(x).reshape(shape) for x in (b["tokens"], b["targets"])) for b in c["batches"]]
        angle = torch.outer(torch.arange(self.length).double(), c["theta"] ** (-torch.arange(0, c["head_dim"], 2).double() / c["head_dim"]))
        self.cos, self.sin = (torch.cat([f(angle)] * 2, -1).float() for f in (torch.cos, torch.sin))
        self.mask = torch.full((self.length, self.length), float("-inf")).triu(1)
        groups = [{"params": [t for t in self.w.values() if t.dim() == 2], "weight_decay": c["weight_decay"]},
                  {"params": [t for t in self.w.values() if t.dim() != 2], "weight_decay": 0.0}]
        fused = {"fused": True} if MODERN else {}
        self.adam = torch.optim.AdamW(groups, lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["eps"], **fused)
        self.done = 0

    def norm(self, x, name):
        if MODERN:
            return F.rms_norm(x, (x.shape[-1],), self.w[name], self.c["eps_norm"])
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["eps_norm"]) * self.w[name]

    def rotate(self, x):
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat((-x[..., half:], x[..., :half]), -1) * self.sin

    def attention(self, n, p):
        heads, hd = self.c["heads"], self.c["head_dim"]
        q, k, v = (F.linear(n, self.w[f"{p}self_attn.{x}_proj.weight"]).view(self.rows, self.length, heads, hd).transpose(1, 2) for x in "qkv")
        q, k = self.rotate(q), self.rotate(k)
        if MODERN:
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            a = torch.softmax((q @ k.transpose(-1, -2)) * hd**-0.5 + self.mask, -1) @ v
        return F.linear(a.transpose(1, 2).reshape(self.rows, self.length, heads * hd), self.w[p + "self_attn.o_proj.weight"])

    def loss(self, tokens, targets):
        x = F.embedding(tokens, self.w["model.embed_tokens.weight"])
        for layer in range(self.c["layers"]):
            p = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, p + "input_layernorm.weight"), p)
            n = self.norm(x, p + "post_attention_layernorm.weight")
            gated = F.silu(F.linear(n, self.w[p + "mlp.gate_proj.weight"])) * F.linear(n, self.w[p + "mlp.up_proj.weight"])
            x = x + F.linear(gated, self.w[p + "mlp.down_proj.weight"])
        logits = F.linear(self.norm(x, "model.norm.weight"), self.w["model.embed_tokens.weight"])
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def step(self):
        tokens, targets = self.batches[self.done % len(self.batches)]
        self.done += 1
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.w.values(), self.c["clip"])
        self.adam.step()
        return loss.item()


def main():
    torch.set_num_threads(1)
    trainer = Trainer(pathlib.Path(sys.argv[1]))
    print(json.dumps({"ready": f"PyTorch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        steps = json.loads(line)["n"]
        begin = cpu()
        losses = [trainer.step() for _ in range(steps)]
        print(json.dumps({"cpu_seconds": cpu() - begin, "tokens": steps * trainer.rows * trainer.length, "losses": losses}), flush=True)


if __name__ == "__main__":
    main()
