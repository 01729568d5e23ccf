#!/usr/bin/env python3
"""Compare a GGUF file's sentence vectors with those of the float32 original.

    python3 accuracy.py PARITY.json all-minilm-l6-v2.Q8_0.gguf

PARITY.json holds `items`, each with `token_ids` and the `embedding` the
original gives. The forward pass is in float64, so what it prints is the cost of
the file's weights and of nothing else. Needs numpy.
"""

import json
import struct
import sys

import numpy as np

PROMISE = 0.9995
HEADS = 12
LAYERS = 6

# Sizes of GGUF metadata values by type number; strings (8) and arrays (9) have their own.
VALUE_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("bytes", "i1", (32,))])


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: accuracy.py PARITY.json MODEL.gguf")
    with open(sys.argv[1], encoding="utf-8") as file:
        items = json.load(file)["items"]
    weights = read_gguf(sys.argv[2])

    cosines = []
    for item in items:
        expected = np.array(item["embedding"])
        cosines.append(embed(weights, item["token_ids"]) @ expected / np.linalg.norm(expected))
    for cosine, item in sorted(zip(cosines, items), key=lambda pair: pair[0]):
        if cosine < PROMISE:
            print(f"{cosine:.6f}  {len(item['token_ids'])} tokens  {item['text'][:50]!r}")
    below = sum(cosine < PROMISE for cosine in cosines)
    print(f"{len(items)} texts: worst {min(cosines):.6f}, median {np.median(cosines):.6f}, mean {np.mean(cosines):.6f}")
    print(f"below {PROMISE}: {below}")
    return 1 if below else 0


def embed(weights, ids):
    def linear(name, x):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(name, x):
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-12)
        return x * weights[name + ".weight"] + weights[name + ".bias"]

    def heads(x):
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    x = weights["token_embd.weight"][ids] + weights["position_embd.weight"][: len(ids)]
    x = norm("token_embd_norm", x + weights["token_types.weight"][0])
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        q, k, v = (heads(linear(at + name, x)) for name in ("attn_q", "attn_k", "attn_v"))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
        p = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed = (p / p.sum(axis=2, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
        x = norm(at + "attn_output_norm", x + linear(at + "attn_output", mixed))
        x = norm(at + "layer_output_norm", x + linear(at + "ffn_down", gelu(linear(at + "ffn_up", x))))
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def gelu(x):
    """x * (1 + erf(x / sqrt 2)) / 2; erf by Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return x * (1 + np.copysign(1 - series * np.exp(-z * z), x)) / 2


def read_gguf(path):
    """Every tensor of the file in float64, by name."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0

    def take(layout):
        nonlocal at
        (value,) = struct.unpack_from("<" + layout, data, at)
        at += struct.calcsize("<" + layout)
        return value

    def string():
        nonlocal at
        size = take("Q")
        at += size
        return data[at - size : at].decode("utf-8")

    def skip(kind):
        nonlocal at
        if kind == 8:
            string()
        elif kind == 9:
            element, count = take("I"), take("Q")
            for _ in range(count):
                skip(element)
        else:
            at += VALUE_SIZES[kind]

    if take("I") != int.from_bytes(b"GGUF", "little"):
        sys.exit(f"{path}: not a GGUF file")
    take("I")  # version
    tensor_count, entry_count = take("Q"), take("Q")
    for _ in range(entry_count):
        string()
        skip(take("I"))
    table = []
    for _ in range(tensor_count):
        name = string()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        table.append((name, shape, take("I"), take("Q")))

    start = at + -at % 32
    return {name: tensor(data, start + offset, shape, kind) for name, shape, kind, offset in table}


def tensor(data, offset, shape, kind):
    count = int(np.prod(shape))
    if kind == 8:
        blocks = np.frombuffer(data, Q8_0_BLOCK, count // 32, offset)
        return (blocks["scale"].astype(np.float64)[:, None] * blocks["bytes"]).reshape(shape)
    return np.frombuffer(data, {0: "<f4", 1: "<f2"}[kind], count, offset).astype(np.float64).reshape(shape)


if __name__ == "__main__":
    sys.exit(main())
