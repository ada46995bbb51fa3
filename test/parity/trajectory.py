#!/usr/bin/env python3
"""Trains the same small Llama in plain PyTorch and writes the course of its losses, the truth that
models/native/trainer's TestTrajectoryAgainstPyTorch is held to.

    go test ./models/native/trainer -run TestTrajectoryAgainstPyTorch -dump DIR
    python3 test/parity/trajectory.py DIR models/native/trainer/testdata/trajectory.json

DIR holds, for every case, NAME.json (model, options, batches, checksum of the inputs) and NAME.safetensors (initial
weights). Needs PyTorch 1.13 or later, nothing else. All arithmetic is float32 on one thread.
"""
import json
import math
import pathlib
import struct
import sys

import torch
import torch.nn.functional as F


def read_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
        tensors[name] = flat.reshape(info["shape"]).clone().requires_grad_(True)
    return tensors


def norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rope(x, positions, theta):
    """x is [B, heads, T, head_dim]; rotate_half as in Hugging Face's Llama."""
    half = x.shape[-1] // 2
    freq = theta ** (-torch.arange(0, half, dtype=torch.float64) / half)
    angle = positions.double()[:, None, :, None] * freq
    cos, sin = angle.cos().float(), angle.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def places(segments):
    """Positions counted from each document's begin, and which key each query may see."""
    rows, length = segments.shape
    positions = torch.zeros_like(segments)
    for r in range(rows):
        for t in range(1, length):
            same = segments[r, t] == segments[r, t - 1]
            positions[r, t] = positions[r, t - 1] + 1 if same else 0
    order = torch.arange(length)
    begin = order - positions
    causal = order[None, :, None] >= order[None, None, :]
    return positions, causal & (begin[:, :, None] == begin[:, None, :])


def loss_sum(w, c, batch):
    shape = (batch["b"], batch["t"])
    tokens, targets, segments = (torch.tensor(batch[k]).reshape(shape) for k in ("tokens", "targets", "segments"))
    positions, visible = places(segments)
    heads, kv, hd, eps = c["heads"], c["kv_heads"], c["head_dim"], c["norm_eps"]
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(c["layers"]):
        p = f"model.layers.{layer}."
        n = norm(x, w[p + "input_layernorm.weight"], eps)
        split = lambda name, h: (n @ w[p + f"self_attn.{name}_proj.weight"].T).reshape(*shape, h, hd).transpose(1, 2)
        q, k, v = split("q", heads), split("k", kv), split("v", kv)
        q, k = rope(q, positions, c["rope_theta"]), rope(k, positions, c["rope_theta"])
        k, v = (y.repeat_interleave(heads // kv, 1) for y in (k, v))
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(hd)
        scores = scores.masked_fill(~visible[:, None], float("-inf"))
        a = (scores.softmax(-1) @ v).transpose(1, 2).reshape(*shape, heads * hd)
        x = x + a @ w[p + "self_attn.o_proj.weight"].T
        n = norm(x, w[p + "post_attention_layernorm.weight"], eps)
        gated = F.silu(n @ w[p + "mlp.gate_proj.weight"].T) * (n @ w[p + "mlp.up_proj.weight"].T)
        x = x + gated @ w[p + "mlp.down_proj.weight"].T
    head = w["model.embed_tokens.weight"] if c["tie_embeddings"] else w["lm_head.weight"]
    logits = norm(x, w["model.norm.weight"], eps) @ head.T
    flat = targets.reshape(-1)
    return F.cross_entropy(logits.reshape(len(flat), -1), flat, ignore_index=-1, reduction="sum"), int((flat >= 0).sum())


def rate(o, step):
    if step < o["warmup"]:
        return o["lr"] * (step + 1) / o["warmup"]
    done = (step - o["warmup"]) / max(o["steps"] - o["warmup"], 1)
    return o["min_lr"] + (o["lr"] - o["min_lr"]) * (1 + math.cos(math.pi * done)) / 2


def train(case, weights):
    c, o = case["model"], case["options"]
    matrices = [t for t in weights.values() if t.dim() == 2]
    norms = [t for t in weights.values() if t.dim() != 2]
    groups = [{"params": matrices, "weight_decay": o["weight_decay"]}, {"params": norms, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    losses, lengths = [], []
    batches = iter(case["batches"])
    for step in range(o["steps"]):
        for group in adam.param_groups:
            group["lr"] = rate(o, step)
        micro = [next(batches) for _ in range(o["accumulate"])]
        total = sum(sum(t >= 0 for t in b["targets"]) for b in micro)
        adam.zero_grad()
        loss = 0.0
        for batch in micro:
            part, _ = loss_sum(weights, c, batch)
            (part / total).backward()
            loss += part.item() / total
        length = torch.nn.utils.clip_grad_norm_(weights.values(), o["clip_norm"])
        adam.step()
        losses.append(round(loss, 6))
        lengths.append(round(float(length), 6))
    sizes = {name: round(float(t.detach().double().norm()), 6) for name, t in weights.items()}
    return {"inputs": case["inputs"], "losses": losses, "grad_norms": lengths, "final_norms": sizes}


def main():
    torch.set_num_threads(1)
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    result = {"torch": torch.__version__, "cases": {}}
    for path in sorted(folder.glob("*.json")):
        result["cases"][path.stem] = train(json.loads(path.read_text()), read_safetensors(path.with_suffix(".safetensors")))
        print(path.stem, result["cases"][path.stem]["losses"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
