"""What a user would write with Flax: `nn.RNN` over `OptimizedLSTMCell`, and the scans of JAX."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from experiments.benchmarks.contenders import ours
from experiments.benchmarks.turns import Program

_CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


def row(size: dict) -> Program:
    """Like `ours.row`."""
    dtype = jnp.dtype(size["precision"])

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x_BTI):
            batch, steps, inputs = x_BTI.shape
            width = size["width"]
            carry, _ = nn.RNN(_CELLS[size["cell"]](width, dtype=dtype), return_carry=True)(x_BTI)
            z_BZ = nn.Dense(64, dtype=dtype)(jax.tree.leaves(carry)[-1])
            position = self.param("position", nn.initializers.normal(1.0), (steps, 64))
            start = nn.Dense(width, dtype=dtype)(z_BZ)
            if size["cell"] == "lstm":
                start = (start, nn.Dense(width, dtype=dtype)(z_BZ))
            inputs_BTZ = jnp.broadcast_to(position, (batch, *position.shape))
            decoder = nn.RNN(_CELLS[size["cell"]](width, dtype=dtype))
            h_BTD = decoder(inputs_BTZ, initial_carry=start)
            return nn.Dense(inputs, dtype=dtype)(h_BTD)

    model, x_BTI = Model(), jax.random.uniform(jax.random.key(0), (size["batch"], 28, 28))

    def loss(params, x_BTI):
        return jnp.mean(jnp.sum((model.apply(params, x_BTI) - x_BTI) ** 2, axis=(1, 2)))

    return ours.descent(loss, model.init(jax.random.key(1), x_BTI), x_BTI)


def pixels(size: dict) -> Program:
    """Like `ours.pixels`."""
    dtype = jnp.dtype(size["precision"])

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x_BTI):
            shifted_BTI = jnp.pad(x_BTI[:, :-1], ((0, 0), (1, 0), (0, 0)))
            h_BTD = nn.RNN(nn.OptimizedLSTMCell(size["width"], dtype=dtype))(shifted_BTI)
            return nn.Dense(1, dtype=dtype)(h_BTD)

    model = Model()
    x_BTI = jax.random.bernoulli(jax.random.key(0), 0.2, (size["batch"], 784, 1))
    x_BTI = x_BTI.astype(jnp.float32)

    def loss(params, x_BTI):
        logits_BTI = model.apply(params, x_BTI).astype(jnp.float32)
        return jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits_BTI, x_BTI), axis=(1, 2)))

    return ours.descent(loss, model.init(jax.random.key(1), x_BTI), x_BTI)


def linear(size: dict) -> Program:
    """Like `ours.linear`, with a plain `lax.scan`."""

    def recur(a_TBD, b_TBD, h_BD):
        def step(h_BD, ab):
            h_BD = ab[0] * h_BD + ab[1]
            return h_BD, h_BD

        return jax.lax.scan(step, h_BD, (a_TBD, b_TBD))[1]

    return ours.gradient_of(recur, size)


def associative(size: dict) -> Program:
    """Like `ours.linear`, with `lax.associative_scan`."""

    def recur(a_TBD, b_TBD, h_BD):
        def join(left, right):
            return left[0] * right[0], right[0] * left[1] + right[1]

        a_TBD, b_TBD = jax.lax.associative_scan(join, (a_TBD, b_TBD))
        return a_TBD * h_BD[None] + b_TBD

    return ours.gradient_of(recur, size)
