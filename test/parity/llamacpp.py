"""llama.cpp through ctypes, from the npm package @node-llama-cpp/linux-x64 that test/parity/run installs: one thread,
keys and values in float32, greedy tokens, tokenization, and the CPU time of its work for measurements.

Structures are opaque: defaults come from the library and single fields are set at their offsets, each checked against
the default it must hold, so that another release is refused and not misread. Used as a program it answers rounds of
test/bench: one JSON object a line in, one out.
"""
import ctypes as C
import functools
import glob
import json
import os
import struct
import sys
import time

import numpy as np

HOME = os.environ.get("TRIARCH_LLAMA", os.path.join(os.path.dirname(__file__), "../../.venv/llama"))
LIBS = os.path.join(HOME, "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64")
F32 = 0


class Params(C.Structure):
    """Either kind of parameters; larger than both, which the calling convention allows."""

    _fields_ = [("raw", C.c_uint8 * 512)]

    def set(self, offset, default, value):
        have = struct.unpack_from("<i", self.raw, offset)[0]
        if have != default:
            raise RuntimeError(f"llama.cpp has changed: offset {offset} holds {have}, not {default}")
        struct.pack_into("<i", self.raw, offset, value)


# Offsets in llama_context_params of release v0.5.0, with the defaults that stand there.
N_CTX, N_BATCH, N_UBATCH, THREADS, THREADS_BATCH, FLASH, TYPE_K, TYPE_V = (
    (0, 512), (4, 2048), (8, 512), (28, 4), (32, 4), (52, -1), (104, 1), (108, 1))


class Batch(C.Structure):
    _fields_ = [("n", C.c_int32), ("token", C.c_void_p), ("embd", C.c_void_p), ("pos", C.c_void_p), ("n_seq", C.c_void_p), ("seq", C.c_void_p), ("logits", C.c_void_p)]


def only(pattern):
    found = glob.glob(os.path.join(LIBS, pattern))
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} files {pattern} in {LIBS}: run test/parity/run --install")
    return found[0]


@functools.cache
def load_library():
    C.CDLL(only("libggml-base.so"), mode=C.RTLD_GLOBAL)
    ggml = C.CDLL(only("libggml.v*.so"), mode=C.RTLD_GLOBAL)
    lib = C.CDLL(only("libllama.v*.so"), mode=C.RTLD_GLOBAL)
    pointer, number = C.c_void_p, C.c_int32
    for name, result, *arguments in (
        ("llama_model_default_params", Params), ("llama_context_default_params", Params), ("llama_model_load_from_file", pointer, C.c_char_p, Params),
        ("llama_init_from_model", pointer, pointer, Params), ("llama_get_memory", pointer, pointer), ("llama_memory_clear", None, pointer, C.c_bool),
        ("llama_decode", number, pointer, Batch), ("llama_get_logits_ith", C.POINTER(C.c_float), pointer, number), ("llama_model_get_vocab", pointer, pointer),
        ("llama_vocab_n_tokens", number, pointer), ("llama_tokenize", number, pointer, C.c_char_p, number, C.POINTER(number), number, C.c_bool, C.c_bool),
        ("llama_n_threads", number, pointer), ("llama_n_ctx", C.c_uint32, pointer), ("llama_print_system_info", C.c_char_p),
    ):
        f = getattr(lib, name)
        f.restype, f.argtypes = result, arguments
    quiet = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(lambda level, text, _: level == 4 and sys.stderr.write(text.decode()))
    lib.llama_log_set(quiet, None)
    lib.kept = quiet
    ggml.ggml_backend_load_all_from_path.argtypes = [C.c_char_p]
    ggml.ggml_backend_load_all_from_path(LIBS.encode())
    lib.llama_backend_init()
    return lib


class Model:
    """A GGUF file with one context of one sequence."""

    def __init__(self, path, context=256, flash=False):
        self.lib = load_library()
        self.model = self.lib.llama_model_load_from_file(path.encode(), self.lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        p = self.lib.llama_context_default_params()
        for (offset, default), value in ((N_CTX, context), (N_BATCH, context), (N_UBATCH, context), (THREADS, 1), (THREADS_BATCH, 1),
                                         (FLASH, int(flash)), (TYPE_K, F32), (TYPE_V, F32)):
            p.set(offset, default, value)
        self.context = self.lib.llama_init_from_model(self.model, p)
        if not self.context or self.lib.llama_n_threads(self.context) != 1 or self.lib.llama_n_ctx(self.context) != context:
            raise RuntimeError("llama.cpp did not take the parameters")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.size = self.lib.llama_vocab_n_tokens(self.vocab)

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), False)

    def decode(self, ids):
        """Appends ids to the sequence; the CPU seconds it took."""
        tokens = np.asarray(ids, dtype=np.int32)
        batch = Batch(n=len(tokens), token=tokens.ctypes.data)
        begin = time.process_time()
        code = self.lib.llama_decode(self.context, batch)
        took = time.process_time() - begin
        if code:
            raise RuntimeError(f"llama_decode gives {code}")
        return took

    def logits(self):
        return np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, -1), (self.size,))

    def greedy(self, ids, n):
        """The n likeliest tokens after ids."""
        self.clear()
        self.decode(ids)
        out = [int(self.logits().argmax())]
        while len(out) < n:
            self.decode(out[-1:])
            out.append(int(self.logits().argmax()))
        return out

    def tokenize(self, text, specials):
        raw = text.encode()
        room = (C.c_int32 * (len(raw) + 8))()
        n = self.lib.llama_tokenize(self.vocab, raw, len(raw), room, len(room), False, specials)
        if n < 0:
            raise RuntimeError(f"llama_tokenize gives {n}")
        return room[:n]


def serve(path):
    """Answers rounds. Only llama_decode is timed: choosing the token is free for this side."""
    models = {flash: Model(path, flash=flash) for flash in (False, True)}
    print(json.dumps({"ready": models[False].lib.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        m, seconds, tokens = models[job["flash"]], 0.0, 0
        for prompt in job["prompts"]:
            m.clear()
            begin = m.decode(prompt)
            if job["what"] == "prefill":
                seconds, tokens = seconds + begin, tokens + len(prompt)
                continue
            for _ in range(job["n"]):
                seconds += m.decode([int(m.logits().argmax())])
            tokens += job["n"]
        print(json.dumps({"cpu_seconds": seconds, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
