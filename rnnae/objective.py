"""From per-example terms to the loss, in nats. Pure maths; the only place that reduces terms."""

import jax
import jax.numpy as jnp

from rnnae.types import Terms


def per_example(terms: Terms) -> dict[str, jax.Array]:
    """The loss of each example and what it is made of, arrays of shape (B,).

    The negative evidence lower bound (Kingma & Welling 2014, equation 3),
    L = -E[log p(x | z)] + KL(q(z | x) || p(z)); the KL of a deterministic code is 0.
    """
    reconstruction_B = -terms.log_prob_B
    return {
        "loss": reconstruction_B + terms.kl_B,
        "reconstruction": reconstruction_B,
        "kl": terms.kl_B,
    }


def loss(terms: Terms) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss, the mean over examples, and the means of its parts."""
    means = {name: jnp.mean(value_B) for name, value_B in per_example(terms).items()}
    return means["loss"], means
