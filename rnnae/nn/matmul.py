"""Matrix products with an explicit operand type, and the dense layer that uses them.

A layer that may round its operands has a field `matmul_dtype`: float32, or bfloat16 for faster
training. Only the operands of a product are rounded. Products are accumulated in float32;
parameters, recurrent states and all other arithmetic stay in float32. Training in bfloat16 uses a
model that is built with `matmul_dtype=jnp.bfloat16`; evaluation uses the same model built with
float32.

Every float32 product asks for `Precision.HIGHEST`, because the default precision of JAX rounds
float32 operands to bfloat16 on TPUs and to TF32 on GPUs.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

# The choices of config.optim.matmul_precision.
MATMUL_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_HIGHEST = jax.lax.Precision.HIGHEST
_CHECKPOINT_NAME = "matmul"
_NARROW_COLUMNS = 256  # XLA's CPU backend is slow at a^T b when b has at most this many columns
_BLOCK_ROWS = 200  # rows of a and b at a time: their columns then fit into the first-level cache
_POLICIES = jax.checkpoint_policies
# A policy for `nn.remat`: keep the results of matrix products, recompute everything else.
SAVED_MATMULS = _POLICIES.save_from_both_policies(
    _POLICIES.dots_with_no_batch_dims_saveable,
    _POLICIES.save_only_these_names(_CHECKPOINT_NAME),
)


class Dense(nn.Module):
    """y = x W + b over the last axis of x_XI, as `flax.linen.Dense`, with `matmul` as the product.

    Parameter names and initial values are those of `flax.linen.Dense`. So is the name of this
    class, from which flax derives the names of unnamed layers.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_XI: jax.Array) -> jax.Array:
        *lead, inputs = x_XI.shape
        kernel_IO = self.param("kernel", self.kernel_init, (inputs, self.features), jnp.float32)
        # Two dimensions only: with more, the weight gradient misses the fast matrix product of
        # XLA's CPU backend.
        y_NO = matmul(x_XI.reshape(math.prod(lead), inputs), kernel_IO, self.matmul_dtype)
        if self.use_bias:
            bias_O = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y_NO = y_NO + bias_O.reshape(1, -1)
        return y_NO.reshape(*lead, self.features)


def einsum_float32(subscripts: str, *operands: jax.Array) -> jax.Array:
    """`jnp.einsum` with float32 products on every device."""
    return jnp.einsum(subscripts, *operands, precision=_HIGHEST)


def dot(a_BI: jax.Array, b_IO: jax.Array, matmul_dtype: jnp.dtype) -> jax.Array:
    """a b with operands rounded to `matmul_dtype`, accumulated in float32.

    The gradient that JAX derives for it does not round in the same way; see `matmul`.
    """
    return jnp.matmul(
        a_BI.astype(matmul_dtype),
        b_IO.astype(matmul_dtype),
        precision=_HIGHEST if matmul_dtype == jnp.float32 else jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )


def transposed_dot(a_NI: jax.Array, b_NO: jax.Array, matmul_dtype: jnp.dtype) -> jax.Array:
    """a^T b with operands rounded to `matmul_dtype`, accumulated in float32."""
    # If XLA's CPU backend sees that the left operand of a large product is a transpose, the
    # product takes twice as long, in bfloat16 three times. A concatenation hides the transpose.
    half = a_NI.shape[1] // 2
    a_IN = jnp.concatenate([a_NI[:, :half].T, a_NI[:, half:].T])
    return dot(a_IN, b_NO, matmul_dtype)


def matmul(x_BI: jax.Array, w_IO: jax.Array, matmul_dtype: jnp.dtype) -> jax.Array:
    """x w as `dot`. The products of its gradient round their operands to `matmul_dtype` too."""
    return checkpoint_name(_matmul(x_BI, w_IO, matmul_dtype), _CHECKPOINT_NAME)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul(x_BI, w_IO, matmul_dtype):
    return dot(x_BI, w_IO, matmul_dtype)


def _forward(x_BI, w_IO, matmul_dtype):
    return dot(x_BI, w_IO, matmul_dtype), (x_BI, w_IO)


def _backward(matmul_dtype, residuals, dy_BO):
    x_BI, w_IO = residuals
    return dot(dy_BO, w_IO.T, matmul_dtype), _weight_gradient(x_BI, dy_BO, matmul_dtype)


_matmul.defvjp(_forward, _backward)


def _weight_gradient(x_BI: jax.Array, dy_BO: jax.Array, matmul_dtype: jnp.dtype) -> jax.Array:
    if matmul_dtype != jnp.float32:
        return transposed_dot(x_BI, dy_BO, matmul_dtype)
    plain = lambda a_NI, b_NO: dot(a_NI.T, b_NO, matmul_dtype)  # noqa: E731
    if dy_BO.shape[1] > _NARROW_COLUMNS:
        return plain(x_BI, dy_BO)
    return jax.lax.platform_dependent(x_BI, dy_BO, cpu=_blockwise_transposed_dot, default=plain)


def _blockwise_transposed_dot(a_NI: jax.Array, b_NO: jax.Array) -> jax.Array:
    """a^T b in float32, summed over blocks of rows."""
    # XLA's CPU backend gathers the left operand of a^T b column by column. If the columns do not
    # fit into the first-level cache, gathering takes as long as the product itself when b has a
    # hundred columns. So the wider operand goes to the right, and the rows are cut into blocks.
    if a_NI.shape[1] > b_NO.shape[1]:
        return _blockwise_transposed_dot(b_NO, a_NI).T
    count = len(a_NI)
    block = max(n for n in range(1, _BLOCK_ROWS + 1) if count % n == 0)
    if block < _BLOCK_ROWS // 8:
        return dot(a_NI.T, b_NO, a_NI.dtype)
    a_blocks, b_blocks = (x.reshape(count // block, block, -1) for x in (a_NI, b_NO))
    return jnp.sum(dot(a_blocks.swapaxes(1, 2), b_blocks, a_NI.dtype), axis=0)
