"""The matrix products of a training step alone, one after another, each at its own shape.

They are a reference for the other contenders, but not a lower limit of their time, because a
program may run two chains of products at the same time.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.contenders.ours import VERSIONS
from experiments.benchmarks.turns import Program

_SECONDS = 0.03  # each product is repeated for at least this long


def train(size: dict) -> Program:
    """One step is all products of `size["matmuls"]` (rows, inner, columns, count): forward, and the
    gradients of both operands. A product that occurs many times is timed a few times, and its mean
    is multiplied by its count."""
    dtype = jnp.dtype(size["precision"])
    generator = np.random.default_rng(0)
    calls = []
    for rows, inner, columns, count in size["matmuls"]:
        # The weight's gradient is one product over all steps.
        shapes = [(rows, inner, columns, count), (rows, columns, inner, count)]
        shapes += [(inner, rows * count, columns, 1)]
        for m, k, n, times in shapes:
            left, right = (
                jnp.asarray(generator.normal(size=shape), dtype) for shape in ((m, k), (k, n))
            )
            dot = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
            calls.append((functools.partial(dot, left, right), times))

    def run(steps: int) -> float:
        del steps
        return sum(times * _seconds(call) for call, times in calls)

    return Program(run, VERSIONS)


def _seconds(call) -> float:
    """The mean duration of a call, over at least `_SECONDS`."""
    jax.block_until_ready(call())
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < _SECONDS:
        jax.block_until_ready(call())
        count += 1
    return (time.perf_counter() - begin) / count
