"""Q8_0 rounding of a BERT encoder that keeps the sentence vectors, not just the weights, close.

A Q8_0 block is 32 weights of a row: one float16 scale and 32 signed bytes.

The word table is rounded to nearest: each of its rows is used alone, and its
error hardly reaches the result. A matrix of a layer is rounded for its inputs.
Its columns are rounded one after the other; each is first moved to cancel, as
far as the inputs allow, the errors already made in its row, and the scale of a
block is the one of several that leaves the least error. The mean of the error
that remains is added to the bias. Inputs come from running the calibration
texts through the layers rounded so far.

Every run gives the same bytes, whatever the processor and the numpy version:

- Sums and matrix products are exact, so their order cannot matter. `grid` puts
  each operand on a multiple of a power of two, coarse enough for float64 to
  hold all partial sums.
- Everything else is elementwise `+ - * /`, `sqrt` or `rint`, which IEEE 754
  defines to the last bit.
- `erf` and `exp` are tables, rounded far more coarsely than any libm errs: no
  entry is within 100,000 float64 ulps of where its rounding would change.
"""

import math
import sys

import numpy as np

BLOCK = 32
BLOCK_TYPE = np.dtype([("scale", "<f2"), ("bytes", "i1", (BLOCK,))])

WIDTH, LAYERS, HEADS = 384, 6, 12
HEAD_WIDTH = WIDTH // HEADS
HEAD_SCALE = 0.17677669529663687  # 1 / sqrt(HEAD_WIDTH)
NORM_EPSILON = 1e-12

# Bits after the binary point. Activations stay below 2^6; weights are float16
# times an integer, so multiples of 2^-24: their products fit in 53 bits with
# room for sums up to 2^15.
ACTIVATION_BITS = 14
STATISTIC_BITS = 10
PROBABILITY_BITS = 18
ERROR_BITS = 26

# Weight of a text's mean input beside its single inputs. A sentence vector is
# a mean over tokens: errors that all tokens share survive it, others fade.
MEAN_WEIGHT = 2
DAMPING = 0.002  # of the mean diagonal; bounds how far a column may be moved
# Scales to try for a block, in thousandths of `largest magnitude / 127`.
SCALES = range(996, 1053, 4)

TABLE_STEPS = 1024  # per unit


def round_model(weights, texts):
    """Q8_0 blocks by tensor name, and the corrected biases by theirs."""
    return Rounder(weights, Texts(texts)).run()


def grid(values, bits):
    return np.rint(values * 2.0**bits) * 2.0**-bits


# --- Plain rounding -----------------------------------------------------------


def nearest(weights):
    """Blocks of a float32 matrix, each weight to the nearest step, all in float32.

    scale   = largest magnitude / 127
    byte[i] = weight[i] * (1 / scale), to the nearest integer, halves away from zero

    The float32 scale makes the bytes; the block stores its nearest float16.
    """
    rows = weights.reshape(-1, BLOCK)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    # In float64 adding the half is exact.
    scaled = (rows * inverse[:, None]).astype(np.float64)
    blocks = np.empty(len(rows), BLOCK_TYPE)
    blocks["scale"] = scale.astype(np.float16)
    blocks["bytes"] = np.trunc(scaled + np.copysign(0.5, scaled))
    return blocks


def values_of(blocks, shape):
    """What a reader of the blocks computes, exactly."""
    return (blocks["scale"].astype(np.float64)[:, None] * blocks["bytes"]).reshape(shape)


# --- Rounding with compensation -----------------------------------------------


def compensated(weights, gram):
    """Blocks of `weights` (rows x columns) for inputs whose Gram matrix is `gram`.

    With gram = R^T R, the squared error of a row over all inputs is
    |R (row - rounded)|^2. R is upper triangular, so from the last column to the
    first, column i adds R[i,i]^2 * (row[i] + sum over k > i of
    R[i,k] / R[i,i] * (row[k] - rounded[k]) - rounded[i])^2: the best value to
    round is the sum of the first two terms, called `target` here.
    """
    rows, columns = weights.shape
    upper = cholesky(damped(gram))
    pivots = np.diag(upper).copy()
    carry = upper / pivots[:, None]
    cost = pivots * pivots

    original = weights.T.astype(np.float64)  # by column, as they are rounded
    target = original.copy()
    blocks = np.empty((rows, columns // BLOCK), BLOCK_TYPE)
    for start in range(columns - BLOCK, -1, -BLOCK):
        block = slice(start, start + BLOCK)
        scale, steps = best_block(target[block], original[block], carry[block, block], cost[block])
        blocks["scale"][:, start // BLOCK] = scale
        blocks["bytes"][:, start // BLOCK] = steps.T
        error = original[block] - steps * scale
        for k in range(BLOCK):
            target[:start] += carry[:start, start + k, None] * error[k]
    return blocks.reshape(-1)


def best_block(target, original, carry, cost):
    """Rounds one block of every row with each scale; the scales and steps with the least cost."""
    widest = np.abs(target).max(axis=0) / 127
    factors = np.array(SCALES)[:, None] / 1000
    # Two conversions, because how float64 becomes float16 varies between processors.
    scales = (widest * factors).astype(np.float32).astype(np.float16).astype(np.float64)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)

    targets = np.repeat(target[:, None], len(factors), axis=1)  # column, scale, row
    steps = np.empty_like(targets)
    total = np.zeros_like(scales)
    for j in range(BLOCK - 1, -1, -1):
        steps[j] = np.clip(np.rint(targets[j] * inverse), -127, 127)
        rounded = steps[j] * scales
        missed = targets[j] - rounded
        total += cost[j] * (missed * missed)
        targets[:j] += carry[:j, j, None, None] * (original[j] - rounded)
    best = total.argmin(axis=0)
    row = np.arange(len(best))
    return scales[best, row], steps[:, best, row]


def damped(gram):
    size = len(gram)
    return gram + np.eye(size) * (DAMPING * np.trace(gram) / size)


def cholesky(matrix):
    """The upper triangular R with R^T R = matrix. LAPACK's depends on the processor."""
    rest = matrix.copy()
    upper = np.zeros_like(matrix)
    for j in range(len(matrix)):
        row = rest[j, j:] / np.sqrt(rest[j, j])
        upper[j, j:] = row
        rest[j + 1 :, j + 1 :] -= row[1:, None] * row[1:]
    return upper


# --- The layers ---------------------------------------------------------------


class Rounder:
    """The encoder while it is rounded, layer by layer, on all texts at once."""

    def __init__(self, weights, texts):
        self.original = weights
        self.texts = texts
        self.blocks = {}
        self.biases = {}
        self.rounded = {}  # name of a linear layer -> (matrix, bias), as a reader has them

    def run(self):
        table = self.original["token_embd.weight"]
        self.blocks["token_embd.weight"] = nearest(table)
        words = values_of(self.blocks["token_embd.weight"], table.shape)[self.texts.ids]
        positions = self.original["position_embd.weight"][self.texts.positions]
        x = self.norm("token_embd_norm", words + positions + self.original["token_types.weight"][0])
        for layer in range(LAYERS):
            print(f"rounding layer {layer + 1} of {LAYERS}", file=sys.stderr)
            x = self.layer(f"blk.{layer}.", x)
        return self.blocks, self.biases

    def layer(self, at, x):
        gram, mean = self.texts.statistics(x)
        self.round(at + "attn_q", [(gram, mean)])
        self.round(at + "attn_k", [(gram, mean)])
        attention = self.texts.attention(self.linear(at + "attn_q", x), self.linear(at + "attn_k", x))

        # A head's values are averaged by its attention, and so are their errors:
        # what its rows of the matrix meet is the averaged input.
        heads = [self.texts.statistics(attention.mixed(x, head)) for head in range(HEADS)]
        self.round(at + "attn_v", heads)
        values = self.linear(at + "attn_v", x)
        mixed = [attention.mixed(values[:, rows_of(head)], head) for head in range(HEADS)]
        x = self.residual(at + "attn_output", x, grid(np.concatenate(mixed, axis=1), ACTIVATION_BITS))

        self.round(at + "ffn_up", [self.texts.statistics(x)])
        hidden = gelu(self.linear(at + "ffn_up", x))
        return self.residual(at + "ffn_down", x, hidden, norm=at + "layer_output_norm")

    def residual(self, name, x, inner, norm=None):
        self.round(name, [self.texts.statistics(inner)])
        return self.norm(norm or name + "_norm", x + self.linear(name, inner))

    def round(self, name, statistics):
        """Rounds a linear layer; its rows are split evenly over the given `(gram, mean)` of inputs."""
        matrix = self.original[name + ".weight"].astype(np.float64)
        bias = self.original[name + ".bias"].astype(np.float64)
        blocks, corrections = [], []
        for rows, (gram, mean) in zip(np.split(matrix, len(statistics)), statistics):
            part = compensated(rows, gram)
            error = grid(rows - values_of(part, rows.shape), ERROR_BITS)
            blocks.append(part)
            corrections.append(error @ grid(mean, ACTIVATION_BITS))
        bias = (bias + np.concatenate(corrections)).astype(np.float32)
        self.blocks[name + ".weight"] = np.concatenate(blocks)
        self.biases[name + ".bias"] = bias
        self.rounded[name] = (values_of(self.blocks[name + ".weight"], matrix.shape), bias)

    def linear(self, name, x):
        matrix, bias = self.rounded[name]
        return grid(x @ matrix.T + bias, ACTIVATION_BITS)

    def norm(self, name, x):
        x = grid(x, ACTIVATION_BITS)
        x = grid(x - x.sum(axis=1, keepdims=True) / WIDTH, ACTIVATION_BITS)
        variance = (x * x).sum(axis=1, keepdims=True) / WIDTH
        x = x / np.sqrt(variance + NORM_EPSILON)
        return grid(x * self.original[name + ".weight"] + self.original[name + ".bias"], ACTIVATION_BITS)


def rows_of(head):
    return slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)


class Texts:
    """The calibration texts, laid end to end: one row per token."""

    def __init__(self, texts):
        lengths = np.array([len(ids) for ids in texts])
        self.starts = np.cumsum(lengths) - lengths
        self.inverse_lengths = 1 / lengths[:, None]
        self.ids = np.concatenate([np.array(ids) for ids in texts])
        self.positions = np.concatenate([np.arange(n) for n in lengths])
        # Every text counts the same, however long.
        self.row_weights = grid(np.repeat(np.sqrt(1 / lengths), lengths)[:, None], STATISTIC_BITS)
        # Texts of one length share their products: length, rows.
        self.groups = [
            (n, np.concatenate([np.arange(s, s + n) for s in self.starts[lengths == n]])) for n in np.unique(lengths)
        ]

    def statistics(self, x):
        """What `compensated` and the bias need to know of these inputs: Gram matrix and mean."""
        rows = grid(x * self.row_weights, STATISTIC_BITS)
        means = grid(np.add.reduceat(x, self.starts, axis=0) * self.inverse_lengths, STATISTIC_BITS)
        gram = rows.T @ rows + MEAN_WEIGHT * (means.T @ means)
        return gram, means.sum(axis=0) / len(means)

    def attention(self, queries, keys):
        return Attention(self.groups, queries, keys)


class Attention:
    """How much each token attends to each other of its text, by head."""

    def __init__(self, groups, queries, keys):
        self.groups = groups
        self.probabilities = []
        for n, rows in groups:
            q, k = (x[rows].reshape(-1, n, HEADS, HEAD_WIDTH).transpose(2, 0, 1, 3) for x in (queries, keys))
            scores = q @ k.transpose(0, 1, 3, 2) * HEAD_SCALE
            p = exp_of_minus(scores.max(axis=3, keepdims=True) - scores)
            self.probabilities.append(grid(p / p.sum(axis=3, keepdims=True), PROBABILITY_BITS))

    def mixed(self, x, head):
        """Each row replaced by the mean of its text's rows under this head's attention."""
        result = np.empty_like(x)
        for (n, rows), p in zip(self.groups, self.probabilities):
            result[rows] = (p[head] @ x[rows].reshape(-1, n, x.shape[1])).reshape(-1, x.shape[1])
        return result


# --- Tables -------------------------------------------------------------------

GELU_LIMIT = 8  # beyond it gelu is x, or 0
EXP_LIMIT = 16  # exp(-16) is below half of what PROBABILITY_BITS can hold


def table(function, first, last):
    points = range(first * TABLE_STEPS, last * TABLE_STEPS + 1)
    return grid(np.array([function(k / TABLE_STEPS) for k in points]), 20)


GELU = table(lambda x: x * (1 + math.erf(x * 0.7071067811865476)) / 2, -GELU_LIMIT, GELU_LIMIT)
EXP = table(lambda x: math.exp(-x), 0, EXP_LIMIT)


def gelu(x):
    at = np.rint(np.clip(x + GELU_LIMIT, 0, 2 * GELU_LIMIT) * TABLE_STEPS).astype(np.intp)
    return grid(np.where(x > GELU_LIMIT, x, GELU[at]), ACTIVATION_BITS)


def exp_of_minus(x):
    return EXP[np.rint(np.minimum(x, EXP_LIMIT) * TABLE_STEPS).astype(np.intp)]
