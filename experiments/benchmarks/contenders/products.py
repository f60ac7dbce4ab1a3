"""The matrix products of a training step alone, each at its shapes, one by one: a measure of the
others and not their limit, since they may run two chains of products side by side."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.contenders.ours import VERSIONS
from experiments.benchmarks.turns import Program

_SECONDS = 0.03  # for which each is repeated


def train(size: dict) -> Program:
    """A step is every product of `size["products"]` (rows, inner, columns, times), forward and both
    gradients; one that happens many times is timed a few times and counted."""
    dtype = jnp.dtype(size["precision"])
    generator = np.random.default_rng(0)
    calls = []
    for rows, inner, columns, times in size["products"]:
        # The weight's gradient waits for all steps, and is one product.
        shapes = [(rows, inner, columns, times), (rows, columns, inner, times)]
        shapes += [(inner, rows * times, columns, 1)]
        for m, k, n, count in shapes:
            left, right = (
                jnp.asarray(generator.normal(size=shape), dtype) for shape in ((m, k), (k, n))
            )
            dot = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
            calls.append((functools.partial(dot, left, right), count))

    def run(steps: int) -> float:
        del steps
        return sum(count * _seconds(call) for call, count in calls)

    return Program(run, VERSIONS)


def _seconds(call) -> float:
    """Of one call, the mean over as many as take `_SECONDS`."""
    jax.block_until_ready(call())
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < _SECONDS:
        jax.block_until_ready(call())
        count += 1
    return (time.perf_counter() - begin) / count
