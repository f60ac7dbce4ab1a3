"""A batch in parts, one part after another. On a CPU the arrays of a small part stay in the cache;
the arrays of a whole batch would not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def limit(cpu_microbatch: int, device: jax.Device) -> int:
    """The largest part on this device: `config.cpu_microbatch` on a CPU, else 0 (no limit)."""
    return cpu_microbatch if device.platform == "cpu" else 0


def mean(function: Callable[[Any], Any], examples: Any, limit: int) -> Any:
    """`function(examples)`, a tree of means over examples, computed as the mean over parts of at
    most `limit` examples. `examples` is a tree of arrays with a leading axis of examples."""
    parts = _split(examples, limit)
    if parts is None:
        return function(examples)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(add, zero, parts)
    return jax.tree.map(lambda x: x / _length(parts), total)


def concatenated(function: Callable[[Any], Any], examples: Any, limit: int) -> Any:
    """`function(examples)`, a tree of arrays with a leading axis of examples, computed from parts
    of at most `limit` examples."""
    parts = _split(examples, limit)
    if parts is None:
        return function(examples)
    values = jax.lax.map(function, parts)
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), values)


def _split(examples, limit):
    """(N, ...) -> (parts, N / parts, ...), the largest equal parts within `limit`; None if that is
    a single part."""
    count = _length(examples)
    size = max(n for n in range(1, min(count, limit or count) + 1) if count % n == 0)
    if size == count:
        return None
    return jax.tree.map(lambda x: x.reshape(count // size, size, *x.shape[1:]), examples)


def _length(tree) -> int:
    return len(jax.tree.leaves(tree)[0])
