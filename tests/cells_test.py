"""Cells against their equations, and the properties of all cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.nn.cells import CELLS, cell_type

WIDTH, INPUT, BATCH = 6, 4, 3


def random_like(params, seed=0):
    """The tree with random values in every leaf, so that no bias or gain has a trivial value."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def setup(name):
    cell = CELLS[name](WIDTH)
    *keys, last, key = jax.random.split(jax.random.key(1), cell.state_size + 2)
    carry = tuple(jax.random.normal(k, (BATCH, WIDTH)) for k in keys)
    x_BI = jax.random.normal(last, (BATCH, INPUT))
    params = random_like(cell.init(key, carry, x_BI)["params"])
    return cell, params, carry, x_BI


@pytest.mark.parametrize("name", CELLS)
def test_call_is_project_then_step(name):
    cell, params, carry, x_BI = setup(name)
    x_TBI = jnp.stack([x_BI, -x_BI])
    projected = cell.apply({"params": params}, x_TBI, method="project")
    for x, p in zip(x_TBI, projected, strict=True):
        whole = cell.apply({"params": params}, carry, x)
        halves = cell.apply({"params": params}, carry, p, method="step")
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_through_blank_rows_are_finite_and_not_zero(name):
    """The gradient goes through 28 steps without input (the rows of an image), from the initial
    parameters and states. Its largest value is 800 with LayerNorm and below 10 without."""
    cell = nn.scan(CELLS[name], variable_broadcast="params", split_rngs={"params": False})(16)
    x_TBI = jnp.zeros((28, BATCH, INPUT)).at[-1].set(1.0)
    zeros = tuple(jnp.zeros((BATCH, 16)) for _ in range(CELLS[name].state_size))
    params = cell.init(jax.random.key(0), zeros, x_TBI)

    @jax.jit
    def gradient(params, zeros):
        return jax.grad(lambda p, c: jnp.sum(cell.apply(p, c, x_TBI)[1][-1]), argnums=(0, 1))(
            params, zeros
        )

    leaves = jax.tree.leaves(gradient(params, zeros))
    assert all(np.isfinite(x).all() for x in leaves)
    assert 0 < max(float(jnp.abs(x).max()) for x in leaves) < 1e4


@pytest.mark.parametrize("name", CELLS)
def test_carry_has_state_size_arrays_and_h_is_the_output(name):
    cell, params, carry, x_BI = setup(name)
    new, h_BD = cell.apply({"params": params}, carry, x_BI)
    assert len(new) == cell.state_size == len(cell.initialize_carry(None, x_BI.shape))
    assert np.array_equal(new[0], h_BD)


@pytest.mark.parametrize("name", CELLS)
def test_examples_do_not_mix(name):
    cell, params, carry, x_BI = setup(name)
    changed = cell.apply({"params": params}, carry, x_BI.at[0].add(1.0))[1]
    same = cell.apply({"params": params}, carry, x_BI)[1]
    assert not np.allclose(changed[0], same[0])
    np.testing.assert_allclose(changed[1:], same[1:], rtol=1e-6)


def test_simple_equation():
    cell, params, (h,), x = setup("simple")
    w, b, u = params["input"]["kernel"], params["input"]["bias"], params["recurrent"]["kernel"]
    expected = np.tanh(x @ w + b[None] + h @ u)
    np.testing.assert_allclose(
        cell.apply({"params": params}, (h,), x)[1], expected, rtol=1e-5, atol=1e-6
    )


def test_lstm_equals_flax():
    cell, params, (h, c), x = setup("lstm")
    theirs = {}
    for i, gate in enumerate("ifgo"):
        part = slice(i * WIDTH, (i + 1) * WIDTH)
        theirs[f"i{gate}"] = {"kernel": params["input"]["kernel"][:, part]}
        theirs[f"h{gate}"] = {
            "kernel": params["recurrent"]["kernel"][:, part],
            "bias": params["input"]["bias"][part],
        }
    (c_new, h_new), _ = nn.OptimizedLSTMCell(WIDTH).apply({"params": theirs}, (c, h), x)
    ours, _ = cell.apply({"params": params}, (h, c), x)
    np.testing.assert_allclose(ours[0], h_new, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], c_new, rtol=1e-5, atol=1e-6)


def test_gru_equals_flax():
    cell, params, (h,), x = setup("gru")
    w, b = params["input"]["kernel"], params["input"]["bias"]
    u, c = params["recurrent"]["kernel"], params["recurrent"]["bias"]
    theirs = {}
    for i, gate in enumerate("rzn"):
        part = slice(i * WIDTH, (i + 1) * WIDTH)
        own_bias = c[part] if gate == "n" else 0.0
        theirs[f"i{gate}"] = {
            "kernel": w[:, part],
            "bias": b[part] if gate == "n" else b[part] + c[part],
        }
        theirs[f"h{gate}"] = {"kernel": u[:, part]}
        if gate == "n":
            theirs["hn"]["bias"] = own_bias
    expected, _ = nn.GRUCell(WIDTH).apply({"params": theirs}, h, x)
    ours, _ = cell.apply({"params": params}, (h,), x)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)


def test_layer_norm_lstm_equations_20_to_22():
    cell, params, (h, c), x = setup("layer_norm_lstm")

    def norm(a, scale, bias=0.0):
        mean, std = a.mean(-1, keepdims=True), np.sqrt(a.var(-1, keepdims=True) + 1e-6)
        return (a - mean) / std * scale + bias

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    p = jax.tree.map(lambda a: np.asarray(a)[None] if a.ndim == 1 else np.asarray(a), params)
    gates = norm(np.asarray(h @ p["recurrent"]["kernel"]), p["recurrent_norm"]["scale"])
    gates = gates + norm(np.asarray(x @ p["input"]["kernel"]), **p["input_norm"])
    i, f, g, o = np.split(gates, 4, axis=-1)
    c_new = sigmoid(f) * np.asarray(c) + sigmoid(i) * np.tanh(g)
    h_new = sigmoid(o) * np.tanh(norm(c_new, **p["cell_norm"]))
    ours, _ = cell.apply({"params": params}, (h, c), x)
    np.testing.assert_allclose(ours[1], c_new, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[0], h_new, rtol=1e-4, atol=1e-5)


def test_slstm_equations():
    cell, params, (h, mean, log_n), x = setup("slstm")
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    raw = np.asarray(x) @ p["input"]["kernel"] + np.asarray(h) @ p["recurrent"]["kernel"]
    z, i, f, o = np.split(raw + p["input"]["bias"][None], 4, axis=-1)
    n = np.exp(np.asarray(log_n, np.float64))
    c_new = sigmoid(f) * n * np.asarray(mean) + np.exp(i) * np.tanh(z)
    n_new = sigmoid(f) * n + np.exp(i)
    ours, _ = cell.apply({"params": params}, (h, mean, log_n), x)
    np.testing.assert_allclose(ours[0], sigmoid(o) * c_new / n_new, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], c_new / n_new, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[2], np.log(n_new), rtol=1e-4, atol=1e-5)


def test_slstm_stays_finite_with_gates_wide_open():
    cell, params, (h, mean, log_n), x = setup("slstm")
    wide_open = jax.tree.map(lambda a: 1000 * a, params)
    assert np.isfinite(cell.apply({"params": wide_open}, (h, mean, log_n), x)[1]).all()


@pytest.mark.parametrize("name, reach", [("lstm", 1e-6), ("layer_norm_lstm", WIDTH**-0.5)])
def test_forget_gate_starts_open(name, reach):
    cell = CELLS[name](WIDTH)
    zero = cell.initialize_carry(None, (1, INPUT))
    params = cell.init(jax.random.key(0), zero, jnp.zeros((1, INPUT)))
    projected = cell.apply(params, jnp.zeros((1, INPUT)), method="project")
    expected = np.repeat([0.0, 1.0, 0.0, 0.0], WIDTH)
    np.testing.assert_allclose(projected[0], expected, atol=reach)


def test_unknown_cell_lists_the_choices():
    with pytest.raises(ConfigError, match="simple, gru, lstm"):
        cell_type("lstn")


def sigmoid(a):
    return 1 / (1 + np.exp(-np.asarray(a, np.float64)))


def gates(params, x, count):
    """The outputs of the input layer, one array for each gate."""
    layer = params["input"]
    return np.split(np.asarray(x @ layer["kernel"] + layer["bias"][None]), count, axis=-1)


def check_equation(name, expected, rtol=1e-4):
    cell, params, carry, x = setup(name)
    ours, _ = cell.apply({"params": params}, carry, x)
    np.testing.assert_allclose(ours[0], expected(params, carry[0], x), rtol=rtol, atol=1e-5)


def test_min_gru_equation():
    def expected(params, h, x):
        f, u = gates(params, x, 2)
        return h + sigmoid(f) * (np.tanh(u) - h)

    check_equation("min_gru", expected)


def test_min_lstm_equation():
    def expected(params, h, x):
        f, i, u = gates(params, x, 3)
        f, i = sigmoid(f), sigmoid(i)
        return (f * h + i * np.tanh(u)) / (f + i)

    check_equation("min_lstm", expected)


def test_rg_lru_equations_1_to_4():
    def expected(params, h, x):
        r, i, u = gates(params, x, 3)
        a = sigmoid(-np.asarray(params["decay"]))[None] ** (8 * sigmoid(r))
        return a * h + np.sqrt(1 - a**2) * sigmoid(i) * u

    check_equation("rg_lru", expected)


def test_lru_equation():
    def expected(params, h, x):
        size = np.exp(-np.exp(np.asarray(params["log_decay"], np.float64)))
        turn = size * np.exp(1j * np.asarray(params["phase"]))
        drive = np.asarray(x @ params["input"]["kernel"])
        half = WIDTH // 2
        state = np.asarray(h)[:, :half] + 1j * np.asarray(h)[:, half:]
        scale = np.sqrt(1 - size**2)[None]
        state = turn[None] * state + scale * (drive[:, :half] + 1j * drive[:, half:])
        return np.concatenate([state.real, state.imag], axis=-1)

    check_equation("lru", expected)


def test_the_lru_has_an_even_width():
    with pytest.raises(ConfigError, match="even config.model.width, not 5"):
        CELLS["lru"](5).init(jax.random.key(0), (jnp.zeros((1, 5)),), jnp.zeros((1, INPUT)))


@pytest.mark.parametrize("name, low, high", [("min_gru", 0.047, 0.731), ("min_lstm", 0.35, 0.66)])
def test_the_gates_of_a_linear_cell_start_at_many_time_scales(name, low, high):
    cell = CELLS[name](WIDTH)
    zero = cell.initialize_carry(None, (1, INPUT))
    params = cell.init(jax.random.key(0), zero, jnp.zeros((1, INPUT)))
    p_XG = cell.apply(params, jnp.zeros((1, INPUT)), method="project")
    a_XD = cell.apply(params, p_XG, method="coefficients")[0][0]
    found = 1 - a_XD if name == "min_gru" else a_XD
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose([found[0], found[-1]], [low, high], atol=2e-2)


def test_the_decays_of_linear_recurrent_units_start_in_the_ranges_of_their_papers():
    zero, blank = (jnp.zeros((1, WIDTH)),), jnp.zeros((1, INPUT))
    params = CELLS["rg_lru"](WIDTH).init(jax.random.key(0), zero, blank)["params"]
    at_most = sigmoid(-params["decay"]) ** 8  # a at r = 1
    np.testing.assert_allclose(at_most, np.linspace(0.9, 0.999, WIDTH), rtol=1e-5)
    params = CELLS["lru"](WIDTH).init(jax.random.key(0), zero, blank)["params"]
    size = np.exp(-np.exp(params["log_decay"]))
    np.testing.assert_allclose(size, np.linspace(0.5, 0.99, WIDTH // 2), rtol=1e-5)
    assert (params["phase"] >= 0).all() and (params["phase"] <= np.pi / 5).all()
