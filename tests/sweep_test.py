"""Sweeps against loops. The decoder is causal and normalised; samples follow its likelihood."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.nn.cells import CELLS
from rnnae.nn.sweeps import GridSweep
from tests import tiny
from tests.tiny import apply, slow

LINEAR = ["min_gru", "min_lstm", "rg_lru", "lru"]
GRID, WIDTH, INPUT = (4, 6), 4, 3


def lines(axis, direction, segment, x_RQBI, params, cell):
    """The sweep as Python loops over lines, segments and tokens."""
    h = np.zeros((*x_RQBI.shape[:3], WIDTH * (2 if direction == "both" else 1)), np.float32)
    x = x_RQBI if axis == "down" else x_RQBI.swapaxes(0, 1)
    out = h if axis == "down" else h.swapaxes(0, 1)
    names = {"both": ("forward", "backward")}.get(direction, (direction,))
    step = jax.jit(CELLS[cell](WIDTH).apply)
    for half, name in enumerate(names):
        weights = {"params": params["layer"][name]}
        for line in range(x.shape[1]):
            for start in range(0, x.shape[0], segment or x.shape[0]):
                tokens = range(start, start + (segment or x.shape[0]))
                carry = CELLS[cell](WIDTH).initialize_carry(None, x[0, 0].shape)
                for t in reversed(tokens) if name == "backward" else tokens:
                    carry, h_BD = step(weights, carry, x[t, line])
                    out[t, line, :, half * WIDTH : (half + 1) * WIDTH] = h_BD
    return h @ params["out"]["kernel"] + params["out"]["bias"][None, None, None]


@pytest.mark.parametrize("cell, segment", [("min_gru", 0), ("gru", 0), ("min_gru", 2)])
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("axis", ["down", "across"])
def test_a_sweep_equals_loops(axis, direction, cell, segment):
    sweep = GridSweep(cell, WIDTH, axis, direction, segment)
    x_RQBI = jax.random.normal(jax.random.key(0), (*GRID, 2, INPUT))
    params = tiny.random_like(sweep.init(jax.random.key(1), x_RQBI))
    expected = lines(axis, direction, segment, np.asarray(x_RQBI), params["params"], cell)
    np.testing.assert_allclose(apply(sweep, params, x_RQBI), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", ["down", "across"])
def test_the_gradient_of_a_sweep_agrees_with_finite_differences(axis):
    sweep = GridSweep("min_gru", WIDTH, axis, "both")
    x_RQBI = jax.random.normal(jax.random.key(0), (*GRID, 2, INPUT))
    params = tiny.random_like(sweep.init(jax.random.key(1), x_RQBI))

    @jax.jit
    def total(params):
        return jnp.sum(jnp.sin(sweep.apply(params, x_RQBI)))

    direction = tiny.random_like(params, seed=1)
    slope = sum(
        jnp.vdot(g, d)
        for g, d in zip(
            jax.tree.leaves(jax.grad(total)(params)), jax.tree.leaves(direction), strict=True
        )
    )
    ahead, behind = (
        total(jax.tree.map(lambda p, d, s=s: p + s * 1e-2 * d, params, direction)) for s in (1, -1)
    )
    assert float(ahead - behind) / 2e-2 == pytest.approx(float(slope), rel=2e-3)


def test_a_segment_that_does_not_divide_the_line_is_refused():
    with pytest.raises(ConfigError, match="segment=5 does not divide the 4 tokens"):
        GridSweep("min_gru", WIDTH, "down", segment=5).init(
            jax.random.key(0), jnp.zeros((*GRID, 1, INPUT))
        )


def logits(model, params, z_BZ, x_BHWC):
    """p_RQBP of every token."""
    return apply(model, params, z_BZ, x_BHWC, method=lambda m, z, x: m.decoder(z, m.token_grid(x)))


@pytest.mark.parametrize(
    "cell, blocks, window",
    [*((c, 1, False) for c in LINEAR), ("gru", 1, False), ("min_gru", 3, False), ("gru", 1, True)],
)
def test_a_token_changes_all_parameters_after_it_and_none_before(cell, blocks, window):
    """Also with one block: the decoder has no blind spot."""
    model, params = tiny.build(
        "sweep", cell=cell, blocks=blocks, patch=1, likelihood__block=1, input_window=window
    )
    x_BHWC, z_BZ = tiny.binary(), jnp.ones((3, 5))
    before = logits(model, params, z_BZ, x_BHWC)
    for row, column in ((0, 0), (1, 3), (2, 5), (3, 2)):
        after = logits(model, params, z_BZ, x_BHWC.at[:, row, column].add(1.0))
        moved = (np.abs(after - before) > 1e-7).any(axis=(2, 3)).ravel()
        at = row * 6 + column
        assert not moved[: at + 1].any() and moved[at + 1 :].all()


@pytest.mark.parametrize(
    "changes, row_2, row_3",
    [
        ({"sweeps_above": "none"}, range(3, 6), range(3, 6)),
        ({"sweeps_above": "forward"}, range(3, 6), range(3, 6)),
        ({"sweeps_above": "backward"}, range(6), range(6)),
        ({"sweep_down": False}, range(6), ()),
        ({"sweep_row": False}, range(6), range(6)),
    ],
)
def test_leaving_out_a_sweep_limits_the_context(changes, row_2, row_3):
    """Token (1, 3) changes the parameters after it in its row (or one of them), and these in the
    rows below."""
    model, params = tiny.build("sweep", blocks=1, patch=1, likelihood__block=1, **changes)
    x_BHWC, z_BZ = tiny.binary(), jnp.ones((3, 5))
    before = logits(model, params, z_BZ, x_BHWC)
    after = logits(model, params, z_BZ, x_BHWC.at[:, 1, 3].add(1.0))
    moved = (np.abs(after - before) > 1e-7).any(axis=(2, 3))
    row_1 = [4] if changes == {"sweep_row": False} else [4, 5]
    for row, expected in enumerate(([], row_1, row_2, row_3)):
        assert np.flatnonzero(moved[row]).tolist() == list(expected), row


def test_the_input_window_is_of_the_tokens_beside_the_nearest_ones():
    """Without any sweep, token (1, 2) changes the two tokens to its right, the three below it and
    the one two rows below. The horizontal stream adds no more."""
    none = {"sweeps_above": "none", "sweep_down": False, "sweep_row": False}
    model, params = tiny.build(
        "sweep", blocks=1, patch=1, likelihood__block=1, input_window=True, **none
    )
    x_BHWC, z_BZ = tiny.binary(), jnp.ones((3, 5))
    before = logits(model, params, z_BZ, x_BHWC)
    after = logits(model, params, z_BZ, x_BHWC.at[:, 1, 2].add(1.0))
    moved = (np.abs(after - before) > 1e-7).any(axis=(2, 3))
    assert [np.flatnonzero(row).tolist() for row in moved] == [[], [3, 4], [1, 2, 3], [2]]


def test_a_segment_limits_the_context():
    """With segments of two tokens, token (0, 2) changes (0, 3), the last token of its segment
    across, and row 1, the last row of its segments down."""
    model, params = tiny.build("sweep", blocks=1, patch=1, likelihood__block=1, segment=2)
    x_BHWC, z_BZ = tiny.binary(), jnp.ones((3, 5))
    before = logits(model, params, z_BZ, x_BHWC)
    after = logits(model, params, z_BZ, x_BHWC.at[:, 0, 2].add(1.0))
    moved = (np.abs(after - before) > 1e-7).any(axis=(2, 3))
    assert [np.flatnonzero(row).tolist() for row in moved] == [[3], [*range(6)], [], []]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        slow({"cell": "lstm", "blocks": 1}),
        slow({"sweeps_above": "backward", "sweep_row": False}),
        slow({"sweeps_above": "none", "sweep_down": False}),
        slow({"input_window": True, "patch": 1, "likelihood__block": 1}),
        slow({"likelihood__name": "softmax", "likelihood__frequencies": 3, "chain": 5}),
        slow({"likelihood__block": 1, "chain": 5}),
        slow({"segment": 2, "patch": 1, "likelihood__block": 1, "blocks": 1}),
        slow({"patch": 1, "likelihood__name": "bernoulli", "condition": "add", "blocks": 1}),
        {"patch": 1, "likelihood__name": "logistic_mixture", "blocks": 1},
    ],
)
def test_an_image_is_sampled_with_the_probability_of_teacher_forcing(changes):
    model, params = tiny.build("sweep", **changes)
    z_BZ, keys = jax.random.normal(jax.random.key(0), (3, 5)), tiny.keys()
    x_BHWC = apply(model, params, z_BZ, keys, method="decode_sample")
    sequential = model.likelihood.log_prob(
        apply(model, params, z_BZ, keys, method="decode_free_running"), x_BHWC
    )
    parallel = model.likelihood.log_prob(
        apply(model, params, z_BZ, x_BHWC, method="decode_teacher_forced"), x_BHWC
    )
    np.testing.assert_allclose(sequential, parallel, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shape, changes",
    [
        ((3, 4, 1), {"patch": 1, "likelihood__block": 1}),
        ((2, 6, 1), {"patch": 2, "likelihood__block": 2}),
        ((3, 4, 1), {"patch": 1, "likelihood__block": 1, "input_window": True}),
        ((2, 6, 1), {"patch": 2, "likelihood__block": 1, "chain": 5}),
    ],
)
def test_probabilities_of_every_image_sum_to_one(shape, changes):
    model, params = tiny.build("sweep", shape, **changes)
    every = np.array(list(itertools.product((0.0, 1.0), repeat=12)), np.float32)
    x_BHWC = jnp.asarray(every.reshape(-1, *shape))
    z_BZ = jnp.broadcast_to(jnp.linspace(-1, 1, 5), (len(every), 5))
    log_p = model.likelihood.log_prob(
        apply(model, params, z_BZ, x_BHWC, method="decode_teacher_forced"), x_BHWC
    )
    assert float(jax.nn.logsumexp(log_p)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("likelihood, parts", [("softmax", 12), ("logistic_mixture", 4)])
def test_a_part_of_a_token_sees_the_parts_before_it(likelihood, parts):
    """Parts are pixels, and with a softmax the channels of pixels."""
    changes = {"likelihood__name": likelihood, "likelihood__frequencies": 2}
    model, params = tiny.build("sweep", (4, 4, 3), chain=5, **changes)
    x_BHWC, z_BZ = tiny.images((4, 4, 3)), jnp.ones((3, 5))
    before = logits(model, params, z_BZ, x_BHWC)[0, 1].reshape(3, parts, -1)
    for row, column, channel in ((0, 0, 0), (0, 1, 2), (1, 0, 1)):
        changed = x_BHWC.at[:, row, 2 + column, channel].add(0.1)
        after = logits(model, params, z_BZ, changed)[0, 1].reshape(3, parts, -1)
        moved = (np.abs(after - before) > 1e-7).any(axis=(0, 2))
        value = (row * 2 + column) * 3 + channel
        assert moved.tolist() == [part > value * parts // 12 for part in range(parts)]


def test_samples_follow_the_probabilities():
    shape = (2, 3, 1)
    model, params = tiny.build("sweep", shape, patch=1, likelihood__block=1, blocks=1)
    count, every = 4000, np.array(list(itertools.product((0.0, 1.0), repeat=6)), np.float32)
    z_Z = jnp.linspace(-1, 1, 5)
    images = jnp.asarray(every.reshape(-1, *shape))
    z_BZ = jnp.broadcast_to(z_Z, (64, 5))
    p = jnp.exp(
        model.likelihood.log_prob(
            apply(model, params, z_BZ, images, method="decode_teacher_forced"), images
        )
    )
    keys = jax.random.split(jax.random.key(0), count)
    drawn = apply(model, params, jnp.broadcast_to(z_Z, (count, 5)), keys, method="decode_sample")
    index = np.asarray(drawn).reshape(count, 6) @ 2 ** np.arange(5, -1, -1)
    found = np.bincount(index.astype(int), minlength=64)
    chi_square = np.sum((found - count * p) ** 2 / (count * p))
    assert chi_square < 63 + 5 * np.sqrt(2 * 63)


def test_the_latent_reaches_every_token():
    model, params = tiny.build("sweep")
    one, other = (logits(model, params, z * jnp.ones((3, 5)), tiny.binary()) for z in (0.0, 1.0))
    assert (np.abs(one - other).max(axis=(2, 3)) > 1e-4).all()


def test_a_likelihood_that_is_a_density_is_refused():
    with pytest.raises(ConfigError, match="needs a likelihood of discrete"):
        tiny.build("sweep", likelihood__name="gaussian")
