"""One training step: pinned numbers, and a batch it can learn by heart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnae import optim, state
from rnnae.config import default
from rnnae.models import MODELS, model
from rnnae.train import train_step

SHAPE = (6, 5, 1)


def setup(name="sequence", learning_rate=1e-2, **changes):
    small = {"latent_size": 8} | ({"width": 16} if name == "sequence" else {"widths": (32,)})
    fields = default(name).model.to_dict() | small | changes
    fields.pop("name")
    built = model(name, SHAPE, **fields)
    schedule = optax.constant_schedule(learning_rate)
    optimizer = optim.optimizer(schedule, b1=0.9, b2=0.999, weight_decay=0.0, clip_norm=1.0)
    step = functools.partial(
        train_step,
        positions_B=jnp.arange(4),
        average=lambda tree: tree,
        model=built,
        optimizer=optimizer,
        schedule=schedule,
        ema_decay=0.9,
        binarise="none",
    )
    return step, state.create(built, optimizer, SHAPE, seed=0)


def images():
    return np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype(np.uint8)


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_learned_by_heart(name):
    step, start = setup(name)

    @jax.jit
    def many(train_state):
        return jax.lax.scan(lambda s, _: step(s, images()), train_state, length=600)

    end, means = many(start)
    assert means["loss"][-1] < 0.05 * means["loss"][0]
    assert int(end.step) == 600


def test_golden_step():
    """Changes only if the model, its initialisation, the loss or the optimizer changed."""
    step, train_state = setup()
    losses, norms = [], []
    for _ in range(3):
        train_state, means = jax.jit(step)(train_state, images())
        losses.append(float(means["loss"]))
        norms.append(float(means["grad_norm"]))
    np.testing.assert_allclose(losses, [2.548883, 2.270588, 2.125447], rtol=1e-4)
    np.testing.assert_allclose(norms, [1.26907, 0.752347, 0.525276], rtol=1e-3)


def test_dynamic_binarisation_is_of_the_step_and_the_example():
    step, start = setup(likelihood="bernoulli")
    step = functools.partial(step, binarise="dynamic")
    grey = np.full_like(images(), 128)

    def loss(train_state, positions):
        return float(step(train_state, grey, positions_B=positions)[1]["loss"])

    assert loss(start, jnp.arange(4)) == loss(start, jnp.arange(4))
    assert loss(start, jnp.arange(4)) != loss(start, jnp.arange(4, 8))
    later = start.replace(step=start.step + 1)
    assert loss(start, jnp.arange(4)) != loss(later, jnp.arange(4))


def test_averages_follow_and_the_key_stays():
    step, start = setup()
    end, _ = jax.jit(step)(start, images())
    rate = 1 - 1 / 10  # the ramp's first decay
    for old, new, ema in zip(
        *(jax.tree.leaves(t) for t in (start.params, end.params, end.ema)), strict=True
    ):
        np.testing.assert_allclose(ema, old + rate * (new - old), rtol=1e-5, atol=1e-7)
    assert jax.random.key_data(start.key).tolist() == jax.random.key_data(end.key).tolist()
