"""The products of dense layers in training: of float32 or bfloat16 operands, summed in float32.

Only the operands of dense layers are rounded; parameters, states, sums and the optimizer stay
float32, and whatever is reported is computed in float32 (on accelerators too: `runtime.setup`). To
a model it makes no difference: the products are exchanged from outside, while its training step is
traced.
"""

import contextlib
import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import choose
from rnnae.nn.cells import GatedCell
from rnnae.nn.matmul import product

PRECISIONS = {"float32": jnp.dtype(jnp.float32), "bfloat16": jnp.dtype(jnp.bfloat16)}


def of_products(name: str) -> contextlib.AbstractContextManager:
    """The context in which dense layers multiply with operands of precision `name`; ConfigError
    with the choices if there is none of that name."""
    dtype = choose(PRECISIONS, "config.optim.precision", name)
    return nn.intercept_methods(functools.partial(_exchanged, dtype))


def _exchanged(
    dtype: jnp.dtype,
    call: Callable,
    args: tuple,
    kwargs: dict,
    context: nn.module.InterceptorContext,
):
    """A dense layer's call by `product`, and the type for the cells that multiply by themselves
    (`GatedCell.operands`); every other method as it is."""
    layer = context.module
    if isinstance(layer, GatedCell) and context.method_name == "operands":
        return dtype
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*args, **kwargs)
    (x_XI,), params = args, layer.variables["params"]
    y_XO = product(x_XI.reshape(-1, x_XI.shape[-1]), params["kernel"], dtype)
    y_XO = y_XO.reshape(*x_XI.shape[:-1], -1)
    return y_XO + params["bias"].reshape((1,) * (y_XO.ndim - 1) + (-1,)) if layer.use_bias else y_XO
