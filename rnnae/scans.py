"""Recurrences over the leading axis, linear and gated, each with a gradient of its own.

`lax.scan` differentiated by jax keeps what every operation of a step asks for, and adds to the
gradient of the weights at every step. These keep little, compute it again, and leave the weights'
gradient to one product over all steps. `recurrence.py` chooses; the plain `nn.scan` of other cells,
and a loop, are what the tests compare with.
"""

import functools

import jax
import jax.numpy as jnp

from rnnae.cells import Affine, Carry, GatedCell

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
    reader: Affine | None,
    recurrent: Affine,
    x_TBI: jax.Array,
    carry: Carry,
) -> tuple[Carry, jax.Array]:
    """(final carry, h_TBD) of a cell over its inputs; operands of its products are rounded to
    `dtype`.

    `recurrent` makes r_BG of the state, and `reader` p_BG of the input, step by step: what the
    gates are made of stays in the cache. Without a reader x_TBI is p_TBG, read before. Inputs that
    are the same for all examples, x_T1I, are read once for all.

    Its gradient goes back through the steps for the derivatives of the gates alone. It keeps the
    gates before their activations, which it computes again.
    """
    return _gated_forward(cell, dtype, reverse, reader, recurrent, x_TBI, carry)[0]


def _gated_forward(cell, dtype, reverse, reader, recurrent, x_TBI, carry):
    # Where a loop reads several slices of what it computes, or takes from a longer array, XLA's CPU
    # makes no vectors of it: every gate is an array of its own, and biases are added to those.
    kernel_DG, bias_G = recurrent
    kernel_DG, bias_1G = kernel_DG.astype(dtype), bias_G[None]
    if reader:
        kernel_IG, offsets = reader[0].astype(dtype), cell.gates(reader[1][None], bias_1G)
        inputs = x_TBI
    else:
        offsets = cell.gates(jnp.zeros_like(bias_1G), bias_1G)
        inputs = jnp.split(x_TBI, x_TBI.shape[-1] // kernel_DG.shape[0], axis=-1)

    def step(before, inputs):
        p_BG = dot(inputs, kernel_IG, dtype) if reader else jnp.concatenate(inputs, axis=-1)
        gates = cell.gates(p_BG, dot(before[0], kernel_DG, dtype))
        gates = tuple(map(jnp.add, gates, offsets))
        after = cell.advance(before, gates)
        return after, (after[0], before[1:], gates)

    end, (h_TBD, rest_before, gates_T) = jax.lax.scan(step, carry, inputs, reverse=reverse)
    return (end, h_TBD), (reader, recurrent, x_TBI, carry[0], h_TBD, rest_before, gates_T)


def _gated_backward(cell, dtype, reverse, saved, cotangents):
    reader, recurrent, x_TBI, h_BD, h_TBD, rest_before, gates_T = saved
    d_end, g_TBD = cotangents
    before_TBD = _shifted(h_BD, h_TBD, reverse)
    back_GD = recurrent[0].T.astype(dtype)
    like_p, like_r = (
        jax.ShapeDtypeStruct((batch, back_GD.shape[0]), h_BD.dtype)
        for batch in (x_TBI.shape[1], h_BD.shape[0])
    )
    sides = jax.linear_transpose(cell.gates, like_p, like_r)  # the gates are linear in both

    def step(d_after, inputs):
        g_BD, before, gates = inputs
        _, pull = jax.vjp(cell.advance, before, gates)
        d_before, d_gates = pull((d_after[0] + g_BD, *d_after[1:]))
        d_p_BG, d_r_BG = sides(d_gates)
        d_h_BD = d_before[0] + dot(d_r_BG, back_GD, dtype)
        return (d_h_BD, *d_before[1:]), (d_r_BG, None if cell.summed else d_p_BG)

    inputs = (g_TBD, (before_TBD, *rest_before), gates_T)
    d_carry, (d_r_TBG, d_p_TBG) = jax.lax.scan(step, d_end, inputs, reverse=not reverse)
    if cell.summed:
        one = x_TBI.shape[1] < h_BD.shape[0]
        d_p_TBG = jnp.sum(d_r_TBG, axis=1, keepdims=True) if one else d_r_TBG
    d_recurrent = _affine_gradient(before_TBD, d_r_TBG, dtype)
    if not reader:
        return None, d_recurrent, d_p_TBG, d_carry
    d_x_NI = dot(d_p_TBG.reshape(-1, d_p_TBG.shape[-1]), reader[0].T, dtype)
    d_reader = _affine_gradient(x_TBI, d_p_TBG, dtype)
    return d_reader, d_recurrent, d_x_NI.reshape(x_TBI.shape), d_carry


gated.defvjp(_gated_forward, _gated_backward)


def _affine_gradient(x_TBI: jax.Array, d_TBG: jax.Array, dtype: jnp.dtype) -> Affine:
    """Of the kernel and the bias of x W + b, over all steps at once."""
    x_NI, d_NG = (y.reshape(-1, y.shape[-1]) for y in (x_TBI, d_TBG))
    return transposed_dot(x_NI, d_NG, dtype), jnp.sum(d_NG, axis=0)


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
