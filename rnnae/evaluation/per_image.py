"""What an evaluation computes on the devices: programs over the images of one batch.

Each takes the model, the most images that go through it at a time (0: all), arrays that all
examples share, and arrays with an axis of examples; see `parallel.map_examples`.
"""

import functools

import jax
import jax.numpy as jnp

from rnnae import objective, rng
from rnnae.data import binarisation
from rnnae.devices import microbatch
from rnnae.evaluation.metrics import IMAGE_METRICS
from rnnae.models import Autoencoder, symmetries
from rnnae.types import Terms


def example_keys(seed: jax.Array, position_B: jax.Array) -> jax.Array:
    return rng.example_keys(jax.random.key(seed), position_B)


def _terms(model: Autoencoder, x_BHWC: jax.Array, key_B: jax.Array, *label):
    """(terms of the whole likelihood, log p(x) in each scan order of a model without a latent that
    has several). The terms of `model(...)` may be those of one random order."""
    if not model.generative:
        return model(x_BHWC, key_B, *label), {}
    posterior = model.posterior(x_BHWC)
    if model.orders == 1 or model.latent_dimensions:
        return model.terms(posterior, x_BHWC, key_B, *label), {}
    z_BZ, kl_BTZ, log_ratio_B = model.sample_latent(posterior, key_B)
    log_prob_BO = model.log_likelihood_by_order(z_BZ, x_BHWC, *label)
    terms = Terms(symmetries.mixture(log_prob_BO), kl_BTZ, log_ratio_B)
    return terms, {f"nll_order{order}": -log_prob_BO[:, order] for order in range(model.orders)}


def scores(model: Autoencoder, limit: int, shared, examples) -> dict[str, jax.Array]:
    (params, seed), (image_BHWC, position_B, label_B) = shared, examples
    apply = functools.partial(model.apply, {"params": params})
    x_BHWC, key_B = binarisation.to_unit(image_BHWC), example_keys(seed, position_B)
    label = (label_B,) if model.classes else ()

    def measure(part):  # in one program, so that the encoder runs once for both
        return apply(*part, method=_terms), apply(part[0], *part[2:], method="encode")

    (terms, by_order), z_BZ = microbatch.concatenated(measure, (x_BHWC, key_B, *label), limit)
    values = objective.per_example(terms) | by_order
    if not model.generative:
        chosen_B = jnp.argmax(apply(x_BHWC, method="logits"), axis=-1)
        log_prob_B = apply(x_BHWC, label_B, method="log_prob")
        values = {"loss": -log_prob_B, "accuracy": chosen_B == label_B}
    values |= {"latent": z_BZ, "kl_by_step": jnp.sum(terms.kl_BTZ, axis=2)}
    if model.latent_dimensions:
        method = "decode_mean" if model.has_mean else "decode_sample"
        reconstruction_BHWC = apply(z_BZ, key_B, *label, method=method)
        for name, metric in IMAGE_METRICS.items():
            values[name] = metric.function(x_BHWC, reconstruction_BHWC)
    return values


def loss(model: Autoencoder, limit: int, shared, examples) -> jax.Array:
    """The negative bound of each image, or its exact negative log-likelihood, (B,), nats."""
    (params, seed), (image_BHWC, position_B, label_B) = shared, examples
    part = (binarisation.to_unit(image_BHWC), example_keys(seed, position_B))
    part += (label_B,) if model.classes else ()

    def measure(part):
        return objective.per_example(model.apply({"params": params}, *part, method=_terms)[0])

    return microbatch.concatenated(measure, part, limit)["loss"]


def add_weights(model: Autoencoder, limit: int, shared, examples) -> jax.Array:
    """log-sum-exp of `total_B` and the log importance weights of the samples `ks`."""
    (params, seed, ks, samples), (image_BHWC, position_B, label_B, total_B) = shared, examples
    apply = functools.partial(model.apply, {"params": params})

    def add(part):
        x_BHWC, key_B, total_B, *label = part
        posterior = apply(x_BHWC, method="posterior")

        def log_weight(k):
            # Keys other than the bound's, so that its sample and these are independent.
            draw_B = rng.stream(key_B, k + 1)
            terms = apply(posterior, x_BHWC, draw_B, k, *label, method="importance_terms")
            return terms.log_prob_B + terms.log_ratio_B

        return objective.add_importance_weights(total_B, log_weight, ks, samples)

    examples = (binarisation.to_unit(image_BHWC), example_keys(seed, position_B), total_B)
    examples += (label_B,) if model.classes else ()
    return microbatch.concatenated(add, examples, limit)
