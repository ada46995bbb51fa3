#!/usr/bin/env python3
"""Compares goldens made anew with the kept ones: unchanged.py KEPT_ROOT NEW_ROOT FOLDER...

Texts and token ids must be equal; other numbers may differ by rounding, which kinds of processor do differently.
"""
import json
import math
import pathlib
import sys


def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=2e-4, abs_tol=2e-4)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def parsed(path):
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def main():
    kept, new = map(pathlib.Path, sys.argv[1:3])
    count, changed = 0, []
    for folder in sys.argv[3:]:
        names = {p.relative_to(root) for root in (kept, new) for p in (root / folder).rglob("*") if p.is_file()}
        for name in sorted(names):
            a, b = kept / name, new / name
            count += 1
            if not (a.exists() and b.exists()):
                changed.append(f"{name} is only in {'the kept ones' if a.exists() else 'the new ones'}")
            elif a.read_bytes() != b.read_bytes() and not (a.suffix in (".json", ".jsonl") and same(parsed(a), parsed(b))):
                changed.append(f"{name} would change")
    print(*changed, f"{count} files compared, {len(changed)} differ", sep="\n")
    sys.exit(1 if changed or not count else 0)


if __name__ == "__main__":
    main()
