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
    """A dense layer's call by `product`; every other method as it is."""
    layer = context.module
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*args, **kwargs)
    (x_XI,), params = args, layer.variables["params"]
    y_XO = product(x_XI.reshape(-1, x_XI.shape[-1]), params["kernel"])
    y_XO = y_XO.reshape(*x_XI.shape[:-1], -1)
    return y_XO + params["bias"].reshape((1,) * (y_XO.ndim - 1) + (-1,)) if layer.use_bias else y_XO


@jax.custom_vjp
def product(x_BI: jax.Array, w_IO: jax.Array) -> jax.Array:
    """x w, and its gradients, of operands rounded to bfloat16 and summed in float32: (B, O)."""
    return _dot(x_BI, w_IO, ((1,), (0,)))


def _forward(x_BI, w_IO):
    return product(x_BI, w_IO), (x_BI, w_IO)


def _backward(residuals, dy_BO):
    x_BI, w_IO = residuals
    # XLA's CPU turns a product whose left operand it sees transposed back into float32, 3 times
    # slower; it does not see through a concatenation.
    half = x_BI.shape[1] // 2
    x_IB = jnp.concatenate([x_BI[:, :half].T, x_BI[:, half:].T])
    return _dot(dy_BO, w_IO, ((1,), (1,))), _dot(x_IB, dy_BO, ((1,), (0,)))


def _dot(a, b, contracting):
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jax.lax.dot_general(a, b, (contracting, ((), ())), preferred_element_type=jnp.float32)


product.defvjp(_forward, _backward)
