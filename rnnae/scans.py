"""Recurrences over the leading axis, linear and gated, each with a gradient of its own.

`lax.scan` differentiated by jax keeps what every operation of a step asks for, and adds to the
gradient of the weights at every step. These keep little, compute it again, and leave the weights'
gradient to one product over all steps. `recurrence.py` chooses; the plain `nn.scan` of other cells,
and a loop, are what the tests compare with.
"""

import functools

import jax
import jax.numpy as jnp

from rnnae.cells import Carry, GatedCell

# Steps of a linear recurrence in one pass of its loop. On the CPU a loop costs more than the few
# operations of such a step; a long one unrolled whole would take long to compile.
_UNROLL = 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def linear(a_TBD: jax.Array, b_TBD: jax.Array, h_BD: jax.Array, reverse: bool = False) -> jax.Array:
    """h_TBD of h_t = a_t h_(t-1) + b_t, element by element, from the state h_BD before the first
    step; `reverse` runs from the last to the first, its outputs aligned with its inputs.

    Its gradient is such a recurrence in the other direction, and keeps nothing but a_TBD and h_TBD.
    """

    def step(h_BD, ab):
        h_BD = ab[0] * h_BD + ab[1]
        return h_BD, h_BD

    unroll = min(_UNROLL, a_TBD.shape[0])
    return jax.lax.scan(step, h_BD, (a_TBD, b_TBD), reverse=reverse, unroll=unroll)[1]


def _linear_forward(a_TBD, b_TBD, h_BD, reverse):
    h_TBD = linear(a_TBD, b_TBD, h_BD, reverse)
    return h_TBD, (a_TBD, h_TBD, h_BD)


def _linear_backward(reverse, saved, g_TBD):
    # d_t = g_t + a_(t+1) d_(t+1): the loss's derivative by h_t, along all paths.
    a_TBD, h_TBD, h_BD = saved
    next_TBD = _shifted(jnp.zeros_like(h_BD), a_TBD, not reverse)
    d_TBD = linear(next_TBD, g_TBD, jnp.zeros_like(h_BD), not reverse)
    first = -1 if reverse else 0
    return d_TBD * _shifted(h_BD, h_TBD, reverse), d_TBD, a_TBD[first] * d_TBD[first]


linear.defvjp(_linear_forward, _linear_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def gated(
    cell: type[GatedCell],
    dtype: jnp.dtype,
    reverse: bool,
    kernel_DG: jax.Array,
    bias_G: jax.Array,
    p_TBG: jax.Array,
    carry: Carry,
) -> tuple[Carry, jax.Array]:
    """(final carry, h_TBD) of a cell over what it read from its inputs; operands of its products
    are rounded to `dtype`.

    Its gradient goes back through the steps for the derivatives of the gates alone. It keeps the
    gates before their activations, which it computes again.
    """
    return _gated_forward(cell, dtype, reverse, kernel_DG, bias_G, p_TBG, carry)[0]


def _gated_forward(cell, dtype, reverse, kernel_DG, bias_G, p_TBG, carry):
    def step(before, p_BG):
        gates_BS = cell.gates(p_BG, dot(before[0], kernel_DG, dtype) + bias_G[None])
        after = cell.advance(before, gates_BS)
        return after, (after[0], before[1:], gates_BS)

    end, (h_TBD, rest_before, gates_TBS) = jax.lax.scan(step, carry, p_TBG, reverse=reverse)
    return (end, h_TBD), (kernel_DG, carry[0], h_TBD, rest_before, gates_TBS)


def _gated_backward(cell, dtype, reverse, saved, cotangents):
    kernel_DG, h_BD, h_TBD, rest_before, gates_TBS = saved
    d_end, g_TBD = cotangents
    before_TBD = _shifted(h_BD, h_TBD, reverse)

    def sides(d_XS):  # of the gates, which are linear in both
        like = jax.ShapeDtypeStruct((*d_XS.shape[:-1], kernel_DG.shape[1]), d_XS.dtype)
        return jax.linear_transpose(cell.gates, like, like)(d_XS)

    def step(d_after, inputs):
        g_BD, before, gates_BS = inputs
        _, pull = jax.vjp(cell.advance, before, gates_BS)
        d_before, d_BS = pull((d_after[0] + g_BD, *d_after[1:]))
        d_h_BD = d_before[0] + dot(sides(d_BS)[1], kernel_DG.T, dtype)
        return (d_h_BD, *d_before[1:]), d_BS

    inputs = (g_TBD, (before_TBD, *rest_before), gates_TBS)
    d_carry, d_TBS = jax.lax.scan(step, d_end, inputs, reverse=not reverse)
    d_p_TBG, d_r_TBG = sides(d_TBS)
    d_r_NG = d_r_TBG.reshape(-1, d_r_TBG.shape[-1])
    d_kernel_DG = transposed_dot(before_TBD.reshape(-1, before_TBD.shape[-1]), d_r_NG, dtype)
    return d_kernel_DG, jnp.sum(d_r_NG, axis=0), d_p_TBG, d_carry


gated.defvjp(_gated_forward, _gated_backward)


def dot(a_BI: jax.Array, b_IO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """a b, of operands rounded to `dtype` and summed in float32."""
    return jnp.matmul(a_BI.astype(dtype), b_IO.astype(dtype), preferred_element_type=jnp.float32)


def transposed_dot(a_NI: jax.Array, b_NO: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """a^T b, likewise."""
    # Where XLA's CPU sees the left operand of a large product transposed, it takes twice as long,
    # in bfloat16 three times; it does not see through a concatenation.
    half = a_NI.shape[1] // 2
    return dot(jnp.concatenate([a_NI[:, :half].T, a_NI[:, half:].T]), b_NO, dtype)


def _shifted(first_BD: jax.Array, x_TBD: jax.Array, reverse: bool) -> jax.Array:
    """x_TBD one step later, after `first_BD`; in `reverse` time, one earlier."""
    parts = (x_TBD[1:], first_BD[None]) if reverse else (first_BD[None], x_TBD[:-1])
    return jnp.concatenate(parts)
