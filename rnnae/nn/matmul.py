"""Matrix products whose operands are rounded to a type, summed in float32, and their gradients."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

_EXACT = jax.lax.Precision.HIGHEST  # by default TPUs round to bfloat16, GPUs to TF32
_NAME = "product"
_NARROW = 256  # columns of b, at most, with which XLA's CPU is slow at a^T b
_ROWS = 200  # whose columns the first cache holds
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


def _weight_gradient(x_BI: jax.Array, dy_BO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    if dtype != jnp.float32:
        return transposed_dot(x_BI, dy_BO, dtype)
    plain = lambda a_NI, b_NO: dot(a_NI.T, b_NO, dtype)  # noqa: E731
    if dy_BO.shape[1] > _NARROW:
        return plain(x_BI, dy_BO)
    return jax.lax.platform_dependent(x_BI, dy_BO, cpu=_in_parts, default=plain)


def _in_parts(a_NI: jax.Array, b_NO: jax.Array) -> jax.Array:
    """a^T b of float32."""
    # XLA's CPU gathers the left operand of a^T b column by column; where that is more than the
    # first cache holds, it takes as long as the product does with a hundred columns on the right.
    # So the wider one is on the right, and a few rows are done at a time.
    if a_NI.shape[1] > b_NO.shape[1]:
        return _in_parts(b_NO, a_NI).T
    count = len(a_NI)
    some = max(n for n in range(1, _ROWS + 1) if count % n == 0)
    if some < _ROWS // 8:
        return dot(a_NI.T, b_NO, a_NI.dtype)
    a_PNI, b_PNO = (x.reshape(count // some, some, -1) for x in (a_NI, b_NO))
    return jnp.sum(dot(a_PNI.swapaxes(1, 2), b_PNO, a_NI.dtype), axis=0)


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
    return dot(dy_BO, w_IO.T, dtype), _weight_gradient(x_BI, dy_BO, dtype)


_product.defvjp(_forward, _backward)
