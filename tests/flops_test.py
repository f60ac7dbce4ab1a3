"""Counted FLOPs against explicit sums."""

import jax
import jax.numpy as jnp
import pytest

from rnnae import build
from rnnae.evaluation import flops
from tests import tiny


def test_flops_of_an_mlp():
    model = tiny.build("mlp", widths=(8,), latent__name="gaussian")[0]
    pixels, hidden, latent = 24, 8, 5
    layers = pixels * hidden + hidden * 2 * latent + latent * hidden + hidden * pixels
    assert flops.forward(model) == 2 * layers
    assert flops.training(model) == 6 * layers


def test_flops_of_a_recurrence():
    """The matmuls of the gates, with one row for the bias, and of the dense layers."""
    model = tiny.build(
        cell="lstm", order="rows", encoder_direction="forward", decoder_direction="forward",
        readout="last", latent_input="initial_state", latent__name="gaussian",
    )[0]  # fmt: skip
    steps, token, width, latent = 4, 6, 4, 5
    encoder = steps * (token + width + 1) * 4 * width + width * 2 * latent
    decoder = latent * 2 * width + steps * ((width + 1) * 4 * width + width * token)
    assert flops.forward(model) == 2 * (encoder + decoder)


def test_work_that_is_shared_by_all_images_is_not_counted():
    """The pseudo-inputs of a VampPrior go through the encoder once, for any number of images."""
    one, many = (tiny.build("mlp", latent__name="vamp", latent__components=n)[0] for n in (1, 1000))
    prior = 2 * 2 * 5 * (1000 - 1)  # two matmuls of the latent with each component
    assert flops.forward(many) - flops.forward(one) == prior


def test_a_loop_counts_every_iteration_and_a_branch_counts_the_costliest():
    w = jnp.ones((3, 3))

    def function(x):
        x = jax.lax.scan(lambda x, _: (x @ w, None), x, length=7)[0]
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x, x)

    assert flops.count_matmul_flops(jax.make_jaxpr(function)(w).jaxpr) == 9 * 2 * 27


@pytest.mark.parametrize("read_size", [0, 2])
def test_the_gradient_of_draw_saves_its_matmuls_in_both_precisions(read_size):
    _, params = tiny.build("draw", read_size=read_size)

    def counted(name):
        config = tiny.config("draw", read_size=read_size)
        model = build.build_model(config, name)

        def loss(params):
            terms = model.apply(params, tiny.binary(), tiny.keys())
            return terms.log_prob_B.sum() - terms.kl_BTZ.sum()

        return flops.count_matmul_flops(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)

    assert counted("bfloat16") == counted("float32")
