"""Latents: from what the encoder read to a code z_BZ and the price of it.

To add one: a module with `size` and `__call__(features_BD) -> (z_BZ, kl_B)`, and its line in
`LATENTS`. `kl_B` is in nats per example, unreduced.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError


class Deterministic(nn.Module):
    """z = W features + b, KL 0. It has no prior: sampling fits one afterwards (`mixture.py`)."""

    size: int

    @nn.compact
    def __call__(self, features_BD: jax.Array) -> tuple[jax.Array, jax.Array]:
        z_BZ = nn.Dense(self.size, name="code")(features_BD)
        return z_BZ, jnp.zeros(z_BZ.shape[0])


LATENTS: dict[str, type[nn.Module]] = {"deterministic": Deterministic}


def latent(name: str, size: int) -> nn.Module:
    """The latent called `name` with `size` dimensions; ConfigError if there is none."""
    if name not in LATENTS:
        raise ConfigError(
            f"unknown config.model.latent {name!r}; choose one of {', '.join(LATENTS)}"
        )
    return LATENTS[name](size)
