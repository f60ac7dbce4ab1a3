"""Recurrences over the leading axis, linear and gated, each with a gradient of its own.

`lax.scan` differentiated by jax keeps what every operation of a step asks for, and adds to the
gradient of the weights at every step. These keep little, compute it again, and add to the weights'
gradient every few steps. `recurrence.py` chooses; the plain `nn.scan` of other cells,
and a loop, are what the tests compare with.
"""

import functools

import jax
import jax.numpy as jnp

from rnnae.nn.cells import Carry, GatedCell, Gates
from rnnae.nn.matmul import dot, transposed_dot

# Steps of a linear recurrence that are written out, without a loop: XLA then joins them with what
# is around. More take long to compile, and on CPUs a loop of them is faster.
_UNROLL = 16
# Examples of several steps in one product for the kernel's gradient: fewer and it waits for memory
# to add to, more and they have left the cache.
_ROWS = 256


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def linear(
    a_TBD: jax.Array, b_TBD: jax.Array, h_BD: jax.Array, reverse: bool = False, form: str = ""
) -> jax.Array:
    """h_TBD of h_t = a_t h_(t-1) + b_t, element by element, real or complex, from the state h_BD
    before the first step; `reverse` runs from the last to the first, its outputs aligned with its
    inputs. Coefficients that are the same at all steps, or for all examples, have axes of size one.

    Its gradient is such a recurrence in the other direction, and keeps nothing but a_TBD and h_TBD.
    `form` is a key of `FORMS`, which give the same; by default what is faster where it runs: few
    steps written out, more in order on CPUs, else associative.
    """
    return _of_form(0, form, reverse, a_TBD, b_TBD, h_BD)


def _linear_forward(a_TBD, b_TBD, h_BD, reverse, form):
    h_TBD = linear(a_TBD, b_TBD, h_BD, reverse, form)
    return h_TBD, (a_TBD, h_TBD, h_BD)


def _linear_backward(reverse, form, saved, g_TBD):
    return _of_form(1, form, reverse, *saved, g_TBD)


linear.defvjp(_linear_forward, _linear_backward)


def _of_form(which, form, reverse, *arrays):
    """The recurrence (0) or its gradient (1)."""
    if not form and len(arrays[1]) <= _UNROLL:
        form = "unrolled"
    if form:
        return _by(which, form, reverse, *arrays)
    cpu, other = (functools.partial(_by, which, f, reverse) for f in ("in_order", "associative"))
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=other)


def _by(which, form, reverse, a_TBD, *arrays):
    """Coefficients of fewer axes are spread for the forms that need it, their derivative summed."""
    spread_TBD = a_TBD if form == "in_order" else jnp.broadcast_to(a_TBD, arrays[0].shape)
    found = FORMS[form][which](spread_TBD, *arrays, reverse)
    if which == 0:
        return found
    d_a_TBD, *others = found
    axes = [axis for axis in (0, 1) if a_TBD.shape[axis] < d_a_TBD.shape[axis]]
    return d_a_TBD.sum(axes, keepdims=True) if axes else d_a_TBD, *others


def _in_order(a_TBD, b_TBD, h_BD, reverse, unroll=1):
    fixed = len(a_TBD) < len(b_TBD)

    def step(h_BD, inputs):
        a_BD, b_BD = inputs
        h_BD = (a_TBD[0] if fixed else a_BD) * h_BD + b_BD
        return h_BD, h_BD

    inputs = None if fixed else a_TBD, b_TBD
    return jax.lax.scan(step, h_BD, inputs, reverse=reverse, unroll=unroll)[1]


def _in_order_gradient(a_TBD, h_TBD, h_BD, g_TBD, reverse):
    """In one pass: the states before the steps are read where they lie, not copied first, and the
    derivative of coefficients that are the same at all steps is added up."""
    fixed = len(a_TBD) < len(h_TBD)
    first, earlier = (len(h_TBD) - 1, 1) if reverse else (0, -1)

    def step(carry, inputs):
        later_BD, d_fixed_BD = carry
        t, a_BD, g_BD = inputs
        d_BD = g_BD + later_BD  # the loss's derivative by h_t, along all paths
        before_BD = jnp.where(t == first, h_BD, h_TBD[jnp.where(t == first, t, t + earlier)])
        d_a_BD = d_BD * before_BD
        if fixed:
            return (a_TBD[0] * d_BD, d_fixed_BD + d_a_BD), (None, d_BD)
        return (a_BD * d_BD, None), (d_a_BD, d_BD)

    zero_BD = jnp.zeros_like(h_BD)
    inputs = jnp.arange(len(h_TBD)), None if fixed else a_TBD, g_TBD
    (d_h_BD, d_fixed_BD), (d_a_TBD, d_b_TBD) = jax.lax.scan(
        step, (zero_BD, zero_BD if fixed else None), inputs, reverse=not reverse
    )
    return d_fixed_BD[None] if fixed else d_a_TBD, d_b_TBD, d_h_BD


def _unrolled(a_TBD, b_TBD, h_BD, reverse):
    return _in_order(a_TBD, b_TBD, h_BD, reverse, unroll=len(a_TBD))


def _associative(a_TBD, b_TBD, h_BD, reverse):
    """Blelloch (1990): of two maps h -> a h + b the later one after the earlier is such a map."""

    def after(earlier, later):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    first = -1 if reverse else 0
    b_TBD = b_TBD.at[first].add(a_TBD[first] * h_BD)
    return jax.lax.associative_scan(after, (a_TBD, b_TBD), reverse=reverse)[1]


def _gradient_by(recurrence, a_TBD, h_TBD, h_BD, g_TBD, reverse):
    # d_t = g_t + a_(t+1) d_(t+1): the loss's derivative by h_t, along all paths.
    next_TBD = _shifted(jnp.zeros_like(h_BD), a_TBD, not reverse)
    d_TBD = recurrence(next_TBD, g_TBD, jnp.zeros_like(h_BD), not reverse)
    first = -1 if reverse else 0
    return d_TBD * _shifted(h_BD, h_TBD, reverse), d_TBD, a_TBD[first] * d_TBD[first]


FORMS = {  # the recurrence and its gradient
    "unrolled": (_unrolled, functools.partial(_gradient_by, _unrolled)),
    "in_order": (_in_order, _in_order_gradient),
    "associative": (_associative, functools.partial(_gradient_by, _associative)),
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def gated(
    cell: type[GatedCell],
    dtype: jnp.dtype,
    reverse: bool,
    kernel_KG: jax.Array,
    bias_G: jax.Array,
    x_TBI: jax.Array,
    read_T: Gates,
    carry: Carry,
) -> tuple[Carry, jax.Array]:
    """(final carry, h_TBD) of a cell whose gates are `of_state` ([h, x] K + b), plus `read_T`: what
    was read before the scan, (T, B, D) or (T, 1, D) each, or (). Operands of products are rounded
    to `dtype`. x_TBI may have no width.

    Its gradient goes back through the steps for the derivatives of the gates alone, and adds up
    those of the kernel every few steps, while these are in the cache. It keeps the gates before
    their activations, which it computes again.
    """
    return _gated_forward(cell, dtype, reverse, kernel_KG, bias_G, x_TBI, read_T, carry)[0]


def _gated_forward(cell, dtype, reverse, kernel_KG, bias_G, x_TBI, read_T, carry):
    # The last row is for the ones of `_operand`: a bias stays as exact as it is.
    padded_KG = jnp.concatenate([kernel_KG, jnp.zeros_like(bias_G)[None]]).astype(dtype)
    bias = cell.of_state(bias_G[None])

    # Where a loop takes several slices out of a longer array, or of what it computes itself, XLA's
    # CPU makes no vectors of it: every gate is an array of its own.
    def step(before, inputs):
        x_BI, read = inputs
        gates = cell.of_state(dot(_operand(before[0], x_BI), padded_KG, dtype))
        for more in filter(None, (bias, read)):
            gates = tuple(map(jnp.add, gates, more))
        after = cell.advance(before, gates)
        return after, (after[0], before[1:], gates)

    end, (h_TBD, rest_before, gates_T) = jax.lax.scan(step, carry, (x_TBI, read_T), reverse=reverse)
    return (end, h_TBD), (kernel_KG, x_TBI, read_T, carry[0], h_TBD, rest_before, gates_T)


def _gated_backward(cell, dtype, reverse, saved, cotangents):
    kernel_KG, x_TBI, read_T, h_BD, h_TBD, rest_before, gates_T = saved
    d_end, g_TBD = cotangents
    size, columns = h_BD.shape[1], kernel_KG.shape[1]
    back_GD, back_GI = (part.T.astype(dtype) for part in jnp.split(kernel_KG, [size]))
    one = jax.ShapeDtypeStruct((h_BD.shape[0], columns), kernel_KG.dtype)

    def step(d_after, inputs):
        g_BD, before, x_BI, gates = inputs
        _, pull = jax.vjp(cell.advance, before, gates)
        d_before, d_gates = pull((d_after[0] + g_BD, *d_after[1:]))
        (d_BG,) = jax.linear_transpose(cell.of_state, one)(d_gates)
        d_h_BD = d_before[0] + dot(d_BG, back_GD, dtype)
        d_read = tuple(map(_as_read, read_T, d_gates))
        return (d_h_BD, *d_before[1:]), (d_BG, dot(d_BG, back_GI, dtype), d_read)

    def few_steps(carry, inputs_S):
        d_after, d_padded_KG = carry
        _, before_S, x_SBI, _ = inputs_S
        scanned = jax.lax.scan(step, d_after, inputs_S, reverse=not reverse)
        d_before, (d_SBG, *d_inputs_S) = scanned
        operand_SBK = jax.vmap(_operand)(before_S[0], x_SBI)
        rows = few * h_BD.shape[0]
        d_padded_KG += transposed_dot(operand_SBK.reshape(rows, -1), d_SBG.reshape(rows, -1), dtype)
        return (d_before, d_padded_KG), d_inputs_S

    steps = len(h_TBD)
    few = max(n for n in range(1, max(_ROWS // h_BD.shape[0], 1) + 1) if steps % n == 0)
    before = (_shifted(h_BD, h_TBD, reverse), *rest_before)
    inputs = jax.tree.map(
        lambda y: y.reshape(steps // few, few, *y.shape[1:]), (g_TBD, before, x_TBI, gates_T)
    )
    first = d_end, jnp.zeros((len(kernel_KG) + 1, columns))
    ends, d_inputs = jax.lax.scan(few_steps, first, inputs, reverse=not reverse)
    d_x_TBI, d_read_T = jax.tree.map(lambda y: y.reshape(steps, *y.shape[2:]), d_inputs)
    d_carry, d_padded_KG = ends
    return d_padded_KG[:-1], d_padded_KG[-1], d_x_TBI, d_read_T, d_carry


gated.defvjp(_gated_forward, _gated_backward)


def _as_read(read_TBD: jax.Array, d_BD: jax.Array) -> jax.Array:
    """The derivative by what was read for each example, or once for all."""
    return jnp.sum(d_BD, axis=0, keepdims=True) if read_TBD.shape[1] == 1 else d_BD


def _operand(h_BD: jax.Array, x_BI: jax.Array) -> jax.Array:
    """[h, x, 1]: the ones make a bias's derivative a row of the kernel's, rounded as it is."""
    return jnp.concatenate([h_BD, x_BI, jnp.ones((h_BD.shape[0], 1))], axis=1)


def _shifted(first_BD: jax.Array, x_TBD: jax.Array, reverse: bool) -> jax.Array:
    """x_TBD one step later, after `first_BD`; in `reverse` time, one earlier."""
    parts = (x_TBD[1:], first_BD[None]) if reverse else (first_BD[None], x_TBD[:-1])
    return jnp.concatenate(parts)
