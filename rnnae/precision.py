"""The precision of matrix products in training: bfloat16 operands, float32 sums.

Only the operands of dense layers are rounded; parameters, states, sums and the optimizer stay
float32, and whatever is reported is computed in float32. To a model it makes no difference: the
products are exchanged from outside, while its training step is traced.
"""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae import scans
from rnnae.cells import GatedCell
from rnnae.errors import choose

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
    (`scans.gated`); every other method as it is."""
    layer = context.module
    if isinstance(layer, GatedCell) and context.method_name == "operands":
        return jnp.dtype(jnp.bfloat16)
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*args, **kwargs)
    (x_XI,), params = args, layer.variables["params"]
    y_XO = product(x_XI.reshape(-1, x_XI.shape[-1]), params["kernel"])
    y_XO = y_XO.reshape(*x_XI.shape[:-1], -1)
    return y_XO + params["bias"].reshape((1,) * (y_XO.ndim - 1) + (-1,)) if layer.use_bias else y_XO


@jax.custom_vjp
def product(x_BI: jax.Array, w_IO: jax.Array) -> jax.Array:
    """x w, and its gradients, of operands rounded to bfloat16 and summed in float32: (B, O)."""
    return scans.dot(x_BI, w_IO, jnp.bfloat16)


def _forward(x_BI, w_IO):
    return product(x_BI, w_IO), (x_BI, w_IO)


def _backward(residuals, dy_BO):
    x_BI, w_IO = residuals
    return scans.dot(dy_BO, w_IO.T, jnp.bfloat16), scans.transposed_dot(x_BI, dy_BO, jnp.bfloat16)


product.defvjp(_forward, _backward)
