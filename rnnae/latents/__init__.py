"""LATENTS: the latent variable z of an autoencoder, its posterior and its prior.

A latent is an `nn.Module` with

    posterior(features_BD) -> the part of q(z | x) that does not depend on z; arrays (B, ...)
    sample_posterior(posterior, key_B) -> z_BZ
    kl_and_log_ratio(posterior, z_BZ, encode_features) -> (kl_BTZ, log_ratio_B), nats
    mean(posterior) -> z_BZ, one latent for each image, without randomness
    log_posterior(posterior, z_BZ) -> log q(z | x), (B,), nats
    sample_prior(key_B, encode_features, temperature) -> z_BZ

and the class variable `variational`: whether it has a prior. `encode_features` is the encoder of
the model, x_BHWC -> features_BD. kl_BTZ is the KL divergence by step and dimension. If the prior
does not factorise, kl_BTZ has one step and one dimension. log_ratio_B is log p(z) - log q(z | x).

To add a latent, subclass `Latent` in `priors.py` and add one line to `LATENTS`.
"""

import jax.numpy as jnp

from rnnae.config import CHOICES
from rnnae.config.options import refuse_unused
from rnnae.errors import ConfigError, check_choice, choose
from rnnae.latents.latent import STANDARD_NORMAL, Latent, Normal, normal_noise
from rnnae.latents.priors import (
    AutoregressivePrior,
    Deterministic,
    MixturePrior,
    NoLatent,
    StandardNormalPrior,
    VampPrior,
)

__all__ = [
    "LATENTS",
    "STANDARD_NORMAL",
    "Latent",
    "Normal",
    "StandardNormalPrior",
    "latent",
    "normal_noise",
]

LATENTS: dict[str, type[Latent]] = {
    "none": NoLatent,
    "deterministic": Deterministic,
    "gaussian": StandardNormalPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "autoregressive": AutoregressivePrior,
}


def latent(
    name: str,
    image_shape: tuple[int, int, int],
    *,
    posterior: str,
    matmul_dtype: jnp.dtype = jnp.float32,
    **options,
) -> Latent:
    """The latent called `name`. `posterior` and `options` are the other keys of `config.latent`.

    ConfigError for an unknown name or posterior, for a combination that does not exist, and for an
    option that is set although this latent does not have it. `none` is an exception: it ignores
    the posterior and all options, so that one flag switches the latent of any config off.
    """
    kind = choose(LATENTS, "config.latent.name", name)
    check_choice(CHOICES["latent.posterior"], "config.latent.posterior", posterior)
    if kind is NoLatent:
        return kind(posterior_family="diagonal", matmul_dtype=matmul_dtype, **options | {"size": 0})
    used = kind.options
    if posterior != "diagonal":
        if kind is VampPrior or not kind.variational:
            raise ConfigError(f"config.latent.name={name} needs config.latent.posterior=diagonal")
        used = dict.fromkeys((*used, "chunk", "width"))
    refuse_unused("latent", name, used, options)
    if kind is VampPrior:
        options["image_shape"] = tuple(image_shape)
    return kind(posterior_family=posterior, matmul_dtype=matmul_dtype, **options)
