"""A scan equals a Python loop in value and gradient. The direction decides what a step sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.config.choices import CHOICES, DIRECTIONS
from rnnae.errors import ConfigError
from rnnae.nn import scans
from rnnae.nn.cells import CELLS
from rnnae.nn.recurrence import Layer, Stack, scan_cell

STEPS, BATCH, WIDTH, INPUT = 6, 2, 4, 3


def inputs(width=INPUT, batch=BATCH):
    return jax.random.normal(jax.random.key(0), (STEPS, batch, width))


def build(cell="lstm", layers=1, direction="forward", connections="residual"):
    stack = Stack(cell, WIDTH, layers, direction, connections)
    return stack, stack.init(jax.random.key(1), inputs())


@pytest.mark.parametrize(
    "shape, reverse",
    [((3, BATCH), False), ((3, BATCH), True), ((6, BATCH), True), ((3, 1), True), ((6, 1), False)],
)
@pytest.mark.parametrize("name", CELLS)
def test_scan_equals_loop_in_value_and_gradient(name, shape, reverse, monkeypatch):
    """For inputs narrower and wider than the cell, one per example or one for all examples."""
    monkeypatch.setattr(
        scans, "_GRADIENT_ROWS", 2 * BATCH
    )  # add to the kernel's gradient once for two steps
    cell = CELLS[name](WIDTH)
    x_TBI = inputs(*shape)
    carry = cell.initialize_carry(None, (BATCH, shape[0]))
    params = cell.init(jax.random.key(1), carry, x_TBI[0])
    key_h, key_end, key_carry = jax.random.split(jax.random.key(2), 3)
    weights = jax.random.normal(key_h, (STEPS, BATCH, WIDTH))
    end_weights = jax.random.normal(key_end, (len(carry), BATCH, WIDTH))
    carry = tuple(jax.random.uniform(key_carry, (len(carry), BATCH, WIDTH), minval=0.5))

    def loss(end, h_TBD):
        return jnp.sum(weights * h_TBD) + jnp.sum(end_weights * jnp.stack(end)), (end, h_TBD)

    def scanned(params, x_TBI, carry):
        method = lambda cell, x, carry: scan_cell(cell, carry, x, reverse)  # noqa: E731
        return loss(*cell.apply(params, x_TBI, carry, method=method))

    def looped(params, x_TBI, carry):
        state, outputs = carry, [None] * STEPS
        for t in reversed(range(STEPS)) if reverse else range(STEPS):
            state, outputs[t] = cell.apply(params, state, x_TBI[t])
        return loss(state, jnp.stack(outputs))

    ours, theirs = (
        jax.tree.leaves(
            jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(params, x_TBI, carry)
        )
        for f in (scanned, looped)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_direction_decides_what_a_step_sees(direction):
    stack, params = build(layers=2, direction=direction)
    x_TBI = inputs()
    before = stack.apply(params, x_TBI)[1]
    after = stack.apply(params, x_TBI.at[2].add(1.0))[1]
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-7
    expected = {
        "forward": [False, False, True, True, True, True],
        "backward": [True, True, True, False, False, False],
        "both": [True] * STEPS,
    }
    assert moved.tolist() == expected[direction]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_stepping_equals_scanning(name, layers):
    stack, params = build(name, layers)
    ends, h_TBD = stack.apply(params, inputs())
    carries = stack.zero_carries(BATCH)
    for t in range(STEPS):
        carries, h_BD = stack.apply(params, carries, inputs()[t], method="step")
        np.testing.assert_allclose(h_BD, h_TBD[t], rtol=1e-4, atol=1e-6)
    for a, b in zip(jax.tree.leaves(carries), jax.tree.leaves(ends), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("connections", CHOICES["model.connections"])
def test_a_stack_connects_its_layers_as_configured(connections):
    """A stack of three layers equals three stacks of one layer."""
    stack, params = build(layers=3, connections=connections)
    x_TBI, outputs = inputs(), []
    for index in range(3):
        one = {"params": {"layer_0": params["params"][f"layer_{index}"]}}
        h_TBD = Stack("lstm", WIDTH).apply(one, x_TBI)[1]
        outputs.append(h_TBD)
        x_TBI = x_TBI + h_TBD if connections == "residual" and index else h_TBD
    expected = sum(outputs) if connections == "skip" else x_TBI
    np.testing.assert_allclose(stack.apply(params, inputs())[1], expected, rtol=1e-5, atol=1e-6)


def test_both_directions_are_concatenated_forward_half_first():
    stack, params = build(direction="both")
    _, h_TBD = stack.apply(params, inputs())
    for part, direction in ((slice(WIDTH), "forward"), (slice(WIDTH, None), "backward")):
        one = Stack("lstm", WIDTH, 1, direction)
        weights = {"layer_0": {direction: params["params"]["layer_0"][direction]}}
        np.testing.assert_allclose(
            one.apply({"params": weights}, inputs())[1], h_TBD[..., part], rtol=1e-5, atol=1e-6
        )


def test_unknown_direction_and_stepping_backward_are_refused():
    with pytest.raises(ConfigError, match="forward, backward, both"):
        build(direction="sideways")
    layer = Layer("gru", WIDTH, "backward")
    carry = (CELLS["gru"](WIDTH).initialize_carry(None, (BATCH, INPUT)),)
    with pytest.raises(ConfigError, match="forward"):
        layer.init(jax.random.key(0), carry, inputs()[0], method="step")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("implementation", ["", *scans.IMPLEMENTATIONS])
@pytest.mark.parametrize(
    "steps, own, dtype",
    [
        (5, (5, BATCH), jnp.float32),
        (40, (40, BATCH), jnp.complex64),
        (40, (1, 1), jnp.complex64),
        (40, (40, 1), jnp.float32),
        (5, (1, BATCH), jnp.float32),
    ],
)
def test_a_linear_recurrence_and_its_gradient_equal_a_loop(
    steps, own, implementation, reverse, dtype
):
    """With respect to coefficients, inputs and first state. 40 steps are too many to be
    unrolled. `own` is the shape of the coefficients without their last axis."""
    keys = jax.random.split(jax.random.key(0), 4)
    b_TBD, weights = (jax.random.normal(k, (steps, BATCH, WIDTH), dtype) for k in keys[:2])
    a_TBD = jax.random.normal(keys[2], (*own, WIDTH), dtype)
    a_TBD *= 0.9 / jnp.maximum(1, jnp.abs(a_TBD))
    inputs = a_TBD, b_TBD, jax.random.normal(keys[3], (BATCH, WIDTH), dtype)

    def loop(a_TBD, b_TBD, h_BD):
        outputs = [None] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            h_BD = a_TBD[t % len(a_TBD)] * h_BD + b_TBD[t]
            outputs[t] = h_BD
        return jnp.stack(outputs)

    def ours(*inputs):
        return scans.linear(*inputs, reverse, implementation)

    np.testing.assert_allclose(ours(*inputs), loop(*inputs), rtol=1e-5, atol=1e-6)
    mine, theirs = (
        jax.jit(jax.grad(lambda *x, f=f: jnp.sum(weights * f(*x)).real, argnums=(0, 1, 2)))(*inputs)
        for f in (ours, loop)
    )
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(b).max()))


@pytest.mark.parametrize("platform, loops", [("cpu", True), ("tpu", False), ("cuda", False)])
def test_a_long_linear_recurrence_uses_the_implementation_for_the_platform(platform, loops):
    x_TBD = jax.ShapeDtypeStruct((40, BATCH, WIDTH), jnp.float32)
    h_BD = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32)
    traced = jax.jit(scans.linear).trace(x_TBD, x_TBD, h_BD)
    assert ("while" in traced.lower(lowering_platforms=(platform,)).as_text()) is loops
