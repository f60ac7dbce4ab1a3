"""A method of a model for any number of examples, a fixed number at a time, over all devices."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from rnnae import config as config_lib
from rnnae import rng
from rnnae.data import binarisation
from rnnae.devices import parallel
from rnnae.errors import ConfigError

_CHUNK = 512  # examples at a time, so that one compiled shape serves any number
_PAD = 32  # small numbers of examples are padded to a multiple of this; a power of two
_CONVERT = {"uint8": binarisation.to_unit, "uint32": jax.random.wrap_key_data}


def apply(
    model: nn.Module,
    params: Any,
    method: str | Callable,
    inputs_N: Sequence[np.ndarray],
    *,
    last: tuple = (),
    label_N: np.ndarray | None = None,
    most: int = 0,
    at_once: int = _CHUNK,
    **options,
) -> Any:
    """The results of a method of the model for every example, (N, ...), or a tuple of such arrays.

    Args:
        method: its name, or a function of the model.
        inputs_N: arrays with a leading axis of examples. Images may be uint8, and random keys their
            data.
        last: static arguments that follow the arrays.
        label_N: int32, the argument `label_B` of the method; None leaves it out.
        most: the most devices to use; 0 for all of this process.
        at_once: the most examples in one call.
        options: further static arguments by name.
    """
    chunk = 1 << max(min(at_once, _CHUNK), 1).bit_length() - 1  # so that devices divide it
    pad = min(_PAD, chunk)
    program = _over_devices(model, method, last, tuple(options.items()), most, pad)
    examples = {"inputs": list(inputs_N)}
    if label_N is not None:
        examples["label"] = label_N
    count, outputs = len(inputs_N[0]), []
    for start in range(0, max(count, 1), chunk):
        rows = min(count - start, chunk)
        size = chunk if count > chunk else -(-max(rows, 1) // pad) * pad
        # The padding repeats the last example; its results are dropped.
        index = np.minimum(np.arange(start, start + size), max(count - 1, 0))
        chosen = jax.tree.map(functools.partial(_rows, index=index), examples)
        outputs.append(jax.tree.map(lambda x, rows=rows: x[:rows], program(params, chosen)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)


@functools.lru_cache(maxsize=8)
def _over_devices(
    model: nn.Module, method: str | Callable, last: tuple, options: tuple, most: int, pad: int
) -> Callable:
    """The compiled method, over a power of two of this process's devices, at most `pad`. Modules
    are hashable by their fields."""

    def call(params, examples):
        inputs = [_CONVERT.get(x.dtype.name, lambda x: x)(x) for x in examples["inputs"]]
        label = {"label_B": examples["label"]} if "label" in examples else {}
        return model.apply(
            {"params": params}, *inputs, *last, **label, **dict(options), method=method
        )

    devices = jax.local_devices()[: most or None]
    return parallel.map_examples(call, devices[: 1 << min(len(devices), pad).bit_length() - 1])


def _rows(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The rows `index` of x; zeros if x has no rows."""
    if len(x):
        return x[np.minimum(index, len(x) - 1)]
    return np.zeros((len(index), *x.shape[1:]), x.dtype)


def check_array(what: str, x: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    """ConfigError unless x is an array of that type of shape (N, *shape)."""
    if not isinstance(x, np.ndarray | jax.Array):
        has = f"a {type(x).__name__}"
    elif x.dtype != dtype or x.shape[1:] != shape or not x.ndim:
        has = f"{x.dtype} {x.shape}"
    else:
        return
    sides = ", ".join(map(str, shape))
    raise ConfigError(f"{what} must be {np.dtype(dtype)} of shape (N, {sides}), not {has}")


def to_uint8(x: np.ndarray | jax.Array) -> Any:
    """Intensities from 0 to 1 as levels from 0 to 255."""
    return (255 * x).round().astype(np.uint8)


def example_keys(seed: int, count: int, stream: int = 0) -> np.ndarray:
    """The data of one key for each of `count` examples; streams are independent of each other."""
    return np.asarray(keys_at(config_lib.check_seed(seed), stream, np.arange(count)))


@jax.jit  # operation by operation, compilation takes several times longer
def keys_at(seed: int | jax.Array, stream: int, position_N: np.ndarray | jax.Array) -> jax.Array:
    """The data of the keys that `example_keys` gives the examples at these positions."""
    key = jax.random.fold_in(jax.random.key(seed), stream)
    return jax.random.key_data(rng.example_keys(key, position_N))
