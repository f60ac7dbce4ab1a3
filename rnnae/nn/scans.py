"""Linear and gated recurrences over the leading axis, with explicit gradients.

If JAX differentiates `lax.scan`, it stores every intermediate value that the gradient of a step
needs, and it adds to the weight gradient at every step. The functions here store little, recompute
the rest, and add to the weight gradient once for several steps. `recurrence.py` decides which
recurrence a cell uses. The tests compare with a plain `nn.scan` and with a Python loop.
"""

import functools

import jax
import jax.numpy as jnp

from rnnae.nn.cells import Carry, GatedCell, Gates
from rnnae.nn.matmul import dot, transposed_dot

# A linear recurrence of at most this many steps is unrolled: XLA then fuses its steps with the
# operations around them. Longer ones take long to compile, and on CPUs a loop is faster for them.
_MAX_UNROLLED_STEPS = 16
# Rows (examples times steps) of one product for the kernel's gradient. With fewer rows the product
# waits for the memory of the gradient that it is added to. With more, the rows have left the cache.
_GRADIENT_ROWS = 256


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def linear(
    a_TBD: jax.Array,
    b_TBD: jax.Array,
    h_BD: jax.Array,
    reverse: bool = False,
    implementation: str = "",
) -> jax.Array:
    """The states h_TBD of h_t = a_t h_(t-1) + b_t, elementwise, real or complex.

    h_BD is the state before the first step. With `reverse`, the recurrence runs from the last step
    to the first; outputs stay aligned with inputs. The first two axes of a_TBD may have size one:
    the coefficients are then the same at all steps, or for all examples.

    The gradient is a recurrence in the other direction. It stores only a_TBD and h_TBD.
    `implementation` is a key of `IMPLEMENTATIONS`, which all give the same result. By default the
    fastest is taken: unrolled for few steps; else sequential on CPUs, associative elsewhere.
    """
    return _dispatch(_RECURRENCE, implementation, reverse, a_TBD, b_TBD, h_BD)


def _linear_forward(a_TBD, b_TBD, h_BD, reverse, implementation):
    h_TBD = linear(a_TBD, b_TBD, h_BD, reverse, implementation)
    return h_TBD, (a_TBD, h_TBD, h_BD)


def _linear_backward(reverse, implementation, residuals, g_TBD):
    return _dispatch(_GRADIENT, implementation, reverse, *residuals, g_TBD)


linear.defvjp(_linear_forward, _linear_backward)

_RECURRENCE, _GRADIENT = 0, 1  # positions in the pairs of IMPLEMENTATIONS


def _dispatch(function, implementation, reverse, *arrays):
    """The recurrence or its gradient by the given implementation, or by the fastest one."""
    if not implementation and len(arrays[1]) <= _MAX_UNROLLED_STEPS:
        implementation = "unrolled"
    if implementation:
        return _call(function, implementation, reverse, *arrays)
    cpu, other = (
        functools.partial(_call, function, name, reverse) for name in ("sequential", "associative")
    )
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=other)


def _call(function, implementation, reverse, a_TBD, *arrays):
    """Broadcasts a_TBD for the implementations that need all of its axes; the gradient by a_TBD is
    then summed over the axes that were broadcast."""
    full_TBD = a_TBD
    if implementation != "sequential":
        full_TBD = jnp.broadcast_to(a_TBD, arrays[0].shape)
    result = IMPLEMENTATIONS[implementation][function](full_TBD, *arrays, reverse)
    if function == _RECURRENCE:
        return result
    d_a_TBD, *others = result
    axes = [axis for axis in (0, 1) if a_TBD.shape[axis] < d_a_TBD.shape[axis]]
    return d_a_TBD.sum(axes, keepdims=True) if axes else d_a_TBD, *others


def _sequential(a_TBD, b_TBD, h_BD, reverse, unroll=1):
    constant = len(a_TBD) < len(b_TBD)

    def step(h_BD, inputs):
        a_BD, b_BD = inputs
        h_BD = (a_TBD[0] if constant else a_BD) * h_BD + b_BD
        return h_BD, h_BD

    inputs = None if constant else a_TBD, b_TBD
    return jax.lax.scan(step, h_BD, inputs, reverse=reverse, unroll=unroll)[1]


def _sequential_gradient(a_TBD, h_TBD, h_BD, g_TBD, reverse):
    """One pass over the steps. It reads the previous states in place instead of a shifted copy, and
    it sums the derivative of coefficients that are the same at all steps."""
    constant = len(a_TBD) < len(h_TBD)
    first, to_previous = (len(h_TBD) - 1, 1) if reverse else (0, -1)

    def step(carry, inputs):
        from_later_BD, d_constant_BD = carry
        t, a_BD, g_BD = inputs
        d_BD = g_BD + from_later_BD  # the derivative of the loss by h_t, along all paths
        previous_BD = jnp.where(t == first, h_BD, h_TBD[jnp.where(t == first, t, t + to_previous)])
        d_a_BD = d_BD * previous_BD
        if constant:
            return (a_TBD[0] * d_BD, d_constant_BD + d_a_BD), (None, d_BD)
        return (a_BD * d_BD, None), (d_a_BD, d_BD)

    zero_BD = jnp.zeros_like(h_BD)
    inputs = jnp.arange(len(h_TBD)), None if constant else a_TBD, g_TBD
    (d_h_BD, d_constant_BD), (d_a_TBD, d_b_TBD) = jax.lax.scan(
        step, (zero_BD, zero_BD if constant else None), inputs, reverse=not reverse
    )
    return d_constant_BD[None] if constant else d_a_TBD, d_b_TBD, d_h_BD


def _unrolled(a_TBD, b_TBD, h_BD, reverse):
    return _sequential(a_TBD, b_TBD, h_BD, reverse, unroll=len(a_TBD))


def _associative(a_TBD, b_TBD, h_BD, reverse):
    """A parallel scan (Blelloch 1990): the composition of two maps h -> a h + b is such a map."""

    def compose(earlier, later):
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    first = -1 if reverse else 0
    b_TBD = b_TBD.at[first].add(a_TBD[first] * h_BD)
    return jax.lax.associative_scan(compose, (a_TBD, b_TBD), reverse=reverse)[1]


def _gradient_by(recurrence, a_TBD, h_TBD, h_BD, g_TBD, reverse):
    # d_t = g_t + a_(t+1) d_(t+1) is the derivative of the loss by h_t, along all paths.
    next_TBD = _shift(jnp.zeros_like(h_BD), a_TBD, not reverse)
    d_TBD = recurrence(next_TBD, g_TBD, jnp.zeros_like(h_BD), not reverse)
    first = -1 if reverse else 0
    return d_TBD * _shift(h_BD, h_TBD, reverse), d_TBD, a_TBD[first] * d_TBD[first]


IMPLEMENTATIONS = {  # name -> (recurrence, gradient)
    "unrolled": (_unrolled, functools.partial(_gradient_by, _unrolled)),
    "sequential": (_sequential, _sequential_gradient),
    "associative": (_associative, functools.partial(_gradient_by, _associative)),
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def gated(
    cell: type[GatedCell],
    matmul_dtype: jnp.dtype,
    reverse: bool,
    kernel_KG: jax.Array,
    bias_G: jax.Array,
    x_TBI: jax.Array,
    input_gates_T: Gates,
    carry: Carry,
) -> tuple[Carry, jax.Array]:
    """(final carry, h_TBD) of a gated cell over all steps.

    The gates of a step are recurrent_gates([h, x] kernel + bias) + input_gates. x_TBI is the part
    of the input that is multiplied step by step, together with the state. Its width I may be 0, and
    K is D + I here. input_gates_T is the part that was computed before the scan for all steps:
    (T, B, D) or (T, 1, D) for each gate, or () for none. The operands of products are rounded to
    `matmul_dtype`.

    The gradient goes back through the steps for the derivatives of the gates only. It adds to the
    kernel's gradient once for several steps, while these derivatives are in the cache. It stores
    the pre-activations of the gates and recomputes what follows from them.
    """
    return _gated_forward(
        cell, matmul_dtype, reverse, kernel_KG, bias_G, x_TBI, input_gates_T, carry
    )[0]


def _gated_forward(cell, matmul_dtype, reverse, kernel_KG, bias_G, x_TBI, input_gates_T, carry):
    # The last row is multiplied by the ones of `_operand`. It is zero, and the bias is added
    # afterwards, so that the bias is not rounded.
    padded_KG = jnp.concatenate([kernel_KG, jnp.zeros_like(bias_G)[None]]).astype(matmul_dtype)
    bias_gates = cell.recurrent_gates(bias_G[None])

    # XLA's CPU backend does not vectorise a loop that takes several slices of one long array, or of
    # an array that the loop itself computes. So every gate is an array of its own.
    def step(before, inputs):
        x_BI, input_gates = inputs
        gates = cell.recurrent_gates(dot(_operand(before[0], x_BI), padded_KG, matmul_dtype))
        for summand in filter(None, (bias_gates, input_gates)):
            gates = tuple(map(jnp.add, gates, summand))
        after = cell.update(before, gates)
        return after, (after[0], before[1:], gates)

    inputs = (x_TBI, input_gates_T)
    end, (h_TBD, rest_before, gates_T) = jax.lax.scan(step, carry, inputs, reverse=reverse)
    residuals = (kernel_KG, x_TBI, input_gates_T, carry[0], h_TBD, rest_before, gates_T)
    return (end, h_TBD), residuals


def _gated_backward(cell, matmul_dtype, reverse, residuals, cotangents):
    kernel_KG, x_TBI, input_gates_T, h_BD, h_TBD, rest_before, gates_T = residuals
    d_end, g_TBD = cotangents
    width, columns = h_BD.shape[1], kernel_KG.shape[1]
    state_kernel_GD, input_kernel_GI = (
        part.T.astype(matmul_dtype) for part in jnp.split(kernel_KG, [width])
    )
    preactivation = jax.ShapeDtypeStruct((h_BD.shape[0], columns), kernel_KG.dtype)

    def step(d_after, inputs):
        g_BD, before, x_BI, gates = inputs
        _, pullback = jax.vjp(cell.update, before, gates)
        d_before, d_gates = pullback((d_after[0] + g_BD, *d_after[1:]))
        (d_BG,) = jax.linear_transpose(cell.recurrent_gates, preactivation)(d_gates)
        d_h_BD = d_before[0] + dot(d_BG, state_kernel_GD, matmul_dtype)
        d_x_BI = dot(d_BG, input_kernel_GI, matmul_dtype)
        d_input_gates = tuple(map(_sum_if_shared, input_gates_T, d_gates))
        return (d_h_BD, *d_before[1:]), (d_BG, d_x_BI, d_input_gates)

    def chunk_of_steps(carry, inputs_S):
        d_after, d_padded_KG = carry
        _, before_S, x_SBI, _ = inputs_S
        scanned = jax.lax.scan(step, d_after, inputs_S, reverse=not reverse)
        d_before, (d_SBG, *d_inputs_S) = scanned
        operand_SBK = jax.vmap(_operand)(before_S[0], x_SBI)
        rows = chunk * h_BD.shape[0]
        operand_NK, d_NG = operand_SBK.reshape(rows, -1), d_SBG.reshape(rows, -1)
        d_padded_KG += transposed_dot(operand_NK, d_NG, matmul_dtype)
        return (d_before, d_padded_KG), d_inputs_S

    steps = len(h_TBD)
    most = max(_GRADIENT_ROWS // h_BD.shape[0], 1)
    chunk = max(n for n in range(1, most + 1) if steps % n == 0)
    before = (_shift(h_BD, h_TBD, reverse), *rest_before)
    inputs = jax.tree.map(
        lambda y: y.reshape(steps // chunk, chunk, *y.shape[1:]), (g_TBD, before, x_TBI, gates_T)
    )
    start = d_end, jnp.zeros((len(kernel_KG) + 1, columns))
    end, d_inputs = jax.lax.scan(chunk_of_steps, start, inputs, reverse=not reverse)
    d_x_TBI, d_input_gates_T = jax.tree.map(lambda y: y.reshape(steps, *y.shape[2:]), d_inputs)
    d_carry, d_padded_KG = end
    return d_padded_KG[:-1], d_padded_KG[-1], d_x_TBI, d_input_gates_T, d_carry


gated.defvjp(_gated_forward, _gated_backward)


def _sum_if_shared(input_gate_TBD: jax.Array, d_BD: jax.Array) -> jax.Array:
    """The derivative by an input gate, summed over the batch if the gate is (T, 1, D)."""
    return jnp.sum(d_BD, axis=0, keepdims=True) if input_gate_TBD.shape[1] == 1 else d_BD


def _operand(h_BD: jax.Array, x_BI: jax.Array) -> jax.Array:
    """[h, x, 1]. The ones make the bias's gradient one more row of the kernel's gradient."""
    return jnp.concatenate([h_BD, x_BI, jnp.ones((h_BD.shape[0], 1))], axis=1)


def _shift(first_BD: jax.Array, x_TBD: jax.Array, reverse: bool) -> jax.Array:
    """x_TBD moved by one step, with `first_BD` in front; with `reverse`, moved the other way."""
    parts = (x_TBD[1:], first_BD[None]) if reverse else (first_BD[None], x_TBD[:-1])
    return jnp.concatenate(parts)
