"""Latents: from what the encoder read to a code z_BZ, its prior, and its price.

A latent is an `nn.Module` with

    posterior(features_BD) -> what of q(z | x) does not depend on z, arrays with a leading batch
    draw(posterior, key_B) -> z_BZ
    price(posterior, z_BZ, read) -> (kl_BTZ, log_ratio_B)
    mean(posterior) -> z_BZ, the code of an image where one is wanted
    log_posterior(posterior, z_BZ) -> log q(z | x), (B,)
    prior(key_B, read) -> z_BZ

and `variational`: whether it has a prior. `read` is the model's encoder, x_BHWC -> features_BD.
`kl_BTZ` is unreduced, by step and by dimension; one where the prior does not factorise. To add one:
subclass `Latent` in `priors.py`, add its line to `LATENTS`.
"""

from rnnae.errors import ConfigError, choose
from rnnae.latents.latent import INFERENCES, STANDARD, Latent, Normal, normals
from rnnae.latents.priors import (
    Autoregressive,
    Deterministic,
    Mixture,
    NoCode,
    StandardNormal,
    VampPrior,
)

__all__ = [
    "INFERENCES",
    "LATENTS",
    "STANDARD",
    "Latent",
    "Normal",
    "StandardNormal",
    "latent",
    "normals",
]

LATENTS: dict[str, type[Latent]] = {
    "none": NoCode,
    "deterministic": Deterministic,
    "gaussian": StandardNormal,
    "mixture": Mixture,
    "vamp": VampPrior,
    "autoregressive": Autoregressive,
}


def latent(name: str, image_shape: tuple[int, int, int], **options) -> Latent:
    """The latent called `name`; `options` are the other keys of `config.latent`.

    Raises ConfigError with the choices if there is none of that name or inference.
    """
    kind = choose(LATENTS, "config.latent.name", name)
    inference = options["inference"]
    choose(dict.fromkeys(INFERENCES), "config.latent.inference", inference)
    if inference != "diagonal" and (kind is VampPrior or not kind.variational):
        raise ConfigError(f"config.latent.name={name} needs config.latent.inference=diagonal")
    if kind is NoCode:
        options["size"] = 0
    return kind(**options, **({"image_shape": tuple(image_shape)} if kind is VampPrior else {}))
