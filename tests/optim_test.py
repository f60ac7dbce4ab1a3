"""Learning-rate schedules, Adam and Muon against their formulas, clipping, averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnae import optim, state
from rnnae.errors import ConfigError

SCHEDULE = {
    "learning_rate": 0.1,
    "warmup_steps": 10,
    "final_fraction": 0.01,
    "decay_fraction": 1.0,
    "total_steps": 100,
}


def test_warmup_cosine_at_its_start_peak_middle_and_end():
    schedule = optim.learning_rate_schedule(schedule="warmup_cosine", **SCHEDULE)
    np.testing.assert_allclose(
        [schedule(s) for s in (0, 5, 10, 55, 100, 200)],
        [0, 0.05, 0.1, 0.1 * (0.01 + 0.99 * 0.5), 0.001, 0.001],
        rtol=1e-5,
    )


def test_warmup_linear_decays_over_the_end_of_the_run():
    whole = optim.learning_rate_schedule(schedule="warmup_linear", **SCHEDULE)
    steps = [0, 5, 10, 55, 100, 200]
    rates = [0, 0.05, 0.1, 0.0505, 0.001, 0.001]
    np.testing.assert_allclose([whole(s) for s in steps], rates, rtol=1e-5)
    fields = SCHEDULE | {"decay_fraction": 0.2}
    end = optim.learning_rate_schedule(schedule="warmup_linear", **fields)
    np.testing.assert_allclose(
        [end(s) for s in (5, 10, 80, 90, 100)], [0.05, *[0.1] * 2, 0.0505, 0.001], rtol=1e-5
    )
    one = optim.learning_rate_schedule(schedule="warmup_linear", **(SCHEDULE | {"total_steps": 1}))
    assert float(one(0)) == pytest.approx(0.1)


def test_warmup_takes_at_most_half_of_the_run():
    schedule = optim.learning_rate_schedule(
        schedule="warmup_cosine", **(SCHEDULE | {"total_steps": 4})
    )
    np.testing.assert_allclose([schedule(2), schedule(4)], [0.1, 0.001], rtol=1e-5)
    one = optim.learning_rate_schedule(schedule="warmup_cosine", **(SCHEDULE | {"total_steps": 1}))
    assert float(one(0)) == pytest.approx(0.1)


def test_the_constant_schedule_and_an_unknown_one():
    schedule = optim.learning_rate_schedule(schedule="constant", **SCHEDULE)
    assert schedule(0) == schedule(99) == 0.1
    with pytest.raises(ConfigError, match="constant, warmup_cosine, warmup_linear"):
        optim.learning_rate_schedule(schedule="linear", **SCHEDULE)


def updates(gradient, **changes):
    fields = {"name": "adam", "b1": 0.9, "b2": 0.999, "weight_decay": 0.0, "clip_norm": 0.0}
    fields |= changes
    transform = optim.optimizer(optax.constant_schedule(0.1), **fields)
    params = jnp.array([2.0, 2.0])
    return transform.update(gradient, transform.init(params), params)[0]


def test_first_adam_step_is_the_sign_of_the_gradient():
    np.testing.assert_allclose(updates(jnp.array([5.0, -0.01])), [-0.1, 0.1], rtol=1e-4)


def test_weight_decay_is_decoupled():
    np.testing.assert_allclose(
        updates(jnp.array([5.0, 5.0]), weight_decay=0.5), [-0.2, -0.2], rtol=1e-4
    )


def test_clipping_bounds_the_norm_that_adam_sees():
    transform = optim.optimizer(
        optax.constant_schedule(0.1),
        name="adam",
        b1=0.9,
        b2=0.999,
        weight_decay=0.0,
        clip_norm=1.0,
    )
    params = jnp.zeros(2)
    _, after = transform.update(jnp.array([30.0, 40.0]), transform.init(params), params)
    first_moment = next(x for x in jax.tree.leaves(after) if x.shape == (2,))
    np.testing.assert_allclose(first_moment, 0.1 * np.array([0.6, 0.8]), rtol=1e-5)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adam():
    """Liu et al. (2025), equation 4: 0.2 sqrt(max(rows, columns)) U V^T of the gradient U S V^T."""
    transform = optim.optimizer(
        optax.constant_schedule(0.1), name="muon", b1=0.9, b2=0.999, weight_decay=0.0, clip_norm=0.0
    )
    matrix = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    gradient = {"matrix": jnp.asarray(matrix), "bias": jnp.array([5.0, -0.01])}
    params = jax.tree.map(jnp.zeros_like, gradient)
    update = transform.update(gradient, transform.init(params), params)[0]
    first = 0.1 * (1 + 0.09 / 0.19)  # Dozat (2016): Nesterov's momentum in Adam
    np.testing.assert_allclose(update["bias"], [-first, first], rtol=1e-4)
    sizes = np.linalg.svd(-update["matrix"] / (0.1 * 0.2 * np.sqrt(6)), compute_uv=False)
    assert (sizes > 0.6).all() and (sizes < 1.3).all()  # five iterations of Newton and Schulz
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    assert np.vdot(-update["matrix"], u @ v) > 0.95 * np.linalg.norm(update["matrix"]) * 2


def test_muon_decays_matrices_and_the_rest():
    def update(weight_decay):
        transform = optim.optimizer(
            optax.constant_schedule(0.1), name="muon", b1=0.9, b2=0.999,
            weight_decay=weight_decay, clip_norm=0.0,
        )  # fmt: skip
        return transform.update(gradient, transform.init(params), params)[0]

    generator = np.random.default_rng(0)
    gradient, params = (
        {"matrix": jnp.asarray(generator.normal(size=(4, 6))), "bias": jnp.array([5.0, -0.01])}
        for _ in range(2)
    )
    decay = jax.tree.map(jnp.subtract, update(0.5), update(0.0))
    for name, x in params.items():
        np.testing.assert_allclose(decay[name], -0.1 * 0.5 * x, rtol=1e-4, atol=1e-6)


def test_an_unknown_optimizer_lists_the_choices():
    with pytest.raises(ConfigError, match="adam, muon"):
        updates(jnp.ones(2), name="sgd")


def test_the_average_follows_the_parameters_faster_at_first():
    ema, params = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    late = state.ema_update(ema, params, 0.9, jnp.asarray(10_000))
    np.testing.assert_allclose(late["w"], 0.1, rtol=1e-5)
    early = state.ema_update(ema, params, 0.9, jnp.asarray(0))
    np.testing.assert_allclose(early["w"], 0.9, rtol=1e-5)
    off = state.ema_update(ema, params, 0.0, jnp.asarray(10_000))
    np.testing.assert_allclose(off["w"], 1.0)
