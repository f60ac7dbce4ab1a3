"""The precision of matrix products in training: bfloat16 operands, float32 sums.

Only the operands of dense layers are rounded; parameters, states, sums and the optimizer stay
float32, and whatever is reported is computed in float32 (on accelerators too: `runtime.setup`). To
a model it makes no difference: the products are exchanged from outside, while its training step is
traced.
"""

import contextlib
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells import GatedCell
from rnnae.errors import choose
from rnnae.products import product

PRECISIONS: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "float32": contextlib.nullcontext,
    "bfloat16": lambda: nn.intercept_methods(_rounded),
}


def of_products(name: str) -> contextlib.AbstractContextManager:
    """The context in which dense layers multiply with operands of precision `name`; ConfigError
    with the choices if there is none of that name."""
    return choose(PRECISIONS, "config.optim.precision", name)()


def _rounded(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
    """A dense layer's call by `product`, and bfloat16 for the cells that multiply by themselves
    (`GatedCell.operands`); every other method as it is."""
    layer = context.module
    if isinstance(layer, GatedCell) and context.method_name == "operands":
        return jnp.dtype(jnp.bfloat16)
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*args, **kwargs)
    (x_XI,), params = args, layer.variables["params"]
    y_XO = product(x_XI.reshape(-1, x_XI.shape[-1]), params["kernel"], jnp.bfloat16)
    y_XO = y_XO.reshape(*x_XI.shape[:-1], -1)
    return y_XO + params["bias"].reshape((1,) * (y_XO.ndim - 1) + (-1,)) if layer.use_bias else y_XO
