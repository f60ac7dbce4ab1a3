"""A batch in parts, one after another, for what is a mean over its examples.

On a CPU a small part's arrays stay in the caches where those of the whole batch would not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def size(batch: int, limit: int) -> int:
    """The largest part of a batch, of at most `limit` examples, that divides it; 0 = no limit."""
    return max(n for n in range(1, min(batch, limit or batch) + 1) if batch % n == 0)


def mean(function: Callable[[Any], Any], examples: Any, size: int) -> Any:
    """`function(examples)`, a tree of means over examples, as the mean over parts of `size`
    examples; `examples` is a tree of arrays with a leading axis that `size` divides."""
    count = len(jax.tree.leaves(examples)[0]) // size
    if count == 1:
        return function(examples)
    parts = jax.tree.map(lambda x: x.reshape(count, size, *x.shape[1:]), examples)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.tree.map(lambda x: x / count, jax.lax.scan(add, zero, parts)[0])
