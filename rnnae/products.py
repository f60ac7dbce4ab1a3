"""Matrix products whose operands are rounded to a type, summed in float32."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

_EXACT = jax.lax.Precision.HIGHEST  # by default TPUs round to bfloat16, GPUs to TF32
_NAME = "product"
_POLICIES = jax.checkpoint_policies
# For nn.remat: keep the products of dense layers, also those of `product`.
KEPT = _POLICIES.save_from_both_policies(
    _POLICIES.dots_with_no_batch_dims_saveable, _POLICIES.save_only_these_names(_NAME)
)


def dot(a_BI: jax.Array, b_IO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """a b, of operands rounded to `dtype`, on accelerators too, and summed in float32."""
    return jnp.matmul(
        a_BI.astype(dtype),
        b_IO.astype(dtype),
        precision=_EXACT if dtype == jnp.float32 else jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )


def transposed_dot(a_NI: jax.Array, b_NO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """a^T b, likewise."""
    # Where XLA's CPU sees the left operand of a large product transposed, it takes twice as long,
    # in bfloat16 three times; it does not see through a concatenation.
    half = a_NI.shape[1] // 2
    return dot(jnp.concatenate([a_NI[:, :half].T, a_NI[:, half:].T]), b_NO, dtype)


def product(x_BI: jax.Array, w_IO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`dot`, whose gradients are such products too."""
    return checkpoint_name(_product(x_BI, w_IO, dtype), _NAME)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x_BI, w_IO, dtype):
    return dot(x_BI, w_IO, dtype)


def _forward(x_BI, w_IO, dtype):
    return dot(x_BI, w_IO, dtype), (x_BI, w_IO)


def _backward(dtype, saved, dy_BO):
    x_BI, w_IO = saved
    return dot(dy_BO, w_IO.T, dtype), transposed_dot(x_BI, dy_BO, dtype)


_product.defvjp(_forward, _backward)
