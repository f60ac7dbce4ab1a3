"""One training step: golden numbers, and a batch that it can overfit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnae import build, objective, optim, state
from rnnae.training.step import make_train_step, train_step
from tests import tiny

SHAPE = (6, 5, 1)


def setup(name="sequence", learning_rate=1e-2, **changes):
    width = {"widths": (32,)} if name == "mlp" else {"width": 16}
    tokens = {"patch": 1, "blocks": 1} if name == "sweep" else {}
    config = tiny.config(name, SHAPE, latent__size=8, **width, **tokens, **changes)
    built = build.build_model(config)
    schedule = optax.constant_schedule(learning_rate)
    optimizer = optim.optimizer(
        schedule, name="adam", b1=0.9, b2=0.999, weight_decay=0.0, clip_norm=1.0
    )
    step = functools.partial(
        train_step,
        positions_B=jnp.arange(4),
        average=lambda tree: tree,
        model=built,
        optimizer=optimizer,
        learning_rate=schedule,
        ema_decay=0.9,
        binarise="none",
        augmentation=None,
        augment_fraction=0.0,
        label_dropout=0.0,
        kl_weight=functools.partial(objective.kl_weight, beta=1.0, anneal_steps=0),
        free_bits=0.0,
        microbatch=0,
    )
    return step, state.create(built, optimizer, SHAPE, seed=0)


def images():
    return np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype(np.uint8)


@pytest.mark.parametrize("name", ["mlp", "sequence", tiny.slow("draw"), tiny.slow("sweep")])
def test_one_batch_can_be_overfitted(name):
    step, start = setup(name, likelihood__name="bernoulli", latent__name="gaussian")
    black_or_white = 255 * (images() > 127).astype(np.uint8)

    @jax.jit
    def many(train_state):
        return jax.lax.scan(
            lambda s, _: step(s, tiny.batch(black_or_white)), train_state, length=1000
        )

    end, means = many(start)
    assert int(end.step) == 1000
    if name == "sweep":  # without a latent, telling four images apart takes log 4 = 1.39 nats
        assert 1.35 < means["loss"][-200:].mean() < 5
        return
    assert means["reconstruction"][-200:].mean() < 0.4 * means["reconstruction"][0]
    # The latent needs log 4 = 1.39 nats to tell four images apart.
    assert 1 < means["kl"][-200:].mean() < 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "key, value",
    [
        ("objective.beta", 0.25),
        ("objective.anneal_steps", 7),
        ("objective.free_bits", 2.0),
        ("optim.matmul_precision", "bfloat16"),
        ("optim.ema", 0.0),
        ("data.binarise", "none"),
    ],
)
def test_every_key_of_the_config_changes_the_step(key, value):
    base = {
        "latent__name": "gaussian",
        "likelihood__name": "bernoulli",
        "data__binarise": "dynamic",
        "objective__beta": 0.5,
        "objective__anneal_steps": 4,
        "optim__schedule": "constant",
    }

    def outcome(**changes):
        config = tiny.config(shape=SHAPE, **(base | changes))
        model = build.build_model(config)
        optimizer, learning_rate = build.build_optimizer(config, 10)
        start = state.create(model, optimizer, SHAPE, seed=0).replace(step=jnp.int32(2))
        step = make_train_step(config, optimizer, learning_rate, jax.devices()[0])
        step = functools.partial(step, positions_B=jnp.arange(4), average=lambda tree: tree)
        new, means = jax.jit(step)(start, tiny.batch(images()))
        return means["kl_weight"], (new.ema, means["loss"], means["grad_norm"])

    (weight, before), (_, after) = outcome(), outcome(**{key.replace(".", "__"): value})
    assert float(weight) == pytest.approx(0.5 * 3 / 4)
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    assert not all(np.array_equal(a, b) for a, b in pairs)


def test_a_committed_training_step_is_reproduced():
    """These numbers change only with the model, its initial values, the loss or the optimizer."""
    step, train_state = setup()
    losses, norms = [], []
    for _ in range(3):
        train_state, means = jax.jit(step)(train_state, tiny.batch(images()))
        losses.append(float(means["loss"]))
        norms.append(float(means["grad_norm"]))
    np.testing.assert_allclose(losses, [19.633009, 19.356693, 19.290600], rtol=1e-4)
    np.testing.assert_allclose(norms, [1.188216, 0.548182, 0.605624], rtol=1e-3)


def test_dynamic_binarisation_depends_on_the_step_and_the_example():
    step, start = setup(likelihood__name="bernoulli")
    step = jax.jit(functools.partial(step, binarise="dynamic"))
    grey = np.full_like(images(), 128)

    def loss(train_state, positions):
        return float(step(train_state, tiny.batch(grey), positions_B=positions)[1]["loss"])

    assert loss(start, jnp.arange(4)) == loss(start, jnp.arange(4))
    assert loss(start, jnp.arange(4)) != loss(start, jnp.arange(4, 8))
    later = start.replace(step=start.step + 1)
    assert loss(start, jnp.arange(4)) != loss(later, jnp.arange(4))


def test_the_averaged_weights_follow_and_the_key_stays():
    step, start = setup()
    end, _ = jax.jit(step)(start, tiny.batch(images()))
    rate = 1 - 1 / 10  # the decay of the first step
    for old, new, ema in zip(
        *(jax.tree.leaves(t) for t in (start.params, end.params, end.ema)), strict=True
    ):
        np.testing.assert_allclose(ema, old + rate * (new - old), rtol=1e-5, atol=1e-7)
    assert jax.random.key_data(start.key).tolist() == jax.random.key_data(end.key).tolist()
