"""MODELS: the autoencoders. Every one is built by `model(name, ...)`; see `autoencoder.py`.

To add one: its file with a subclass of `Autoencoder`, its line in `MODELS`, its hyperparameters in
`config.py`.
"""

from rnnae.errors import ConfigError, choose
from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.draw import Draw
from rnnae.models.mlp import MLP
from rnnae.models.sequence import Sequence
from rnnae.models.sweep import Sweep

MODELS: dict[str, type[Autoencoder]] = {
    "mlp": MLP,
    "sequence": Sequence,
    "draw": Draw,
    "sweep": Sweep,
}


def model(
    name: str,
    image_shape: tuple[int, int, int],
    pixels: Likelihood,
    latent: Latent,
    **hyperparameters,
) -> Autoencoder:
    """The model called `name` for images of `image_shape` (H, W, C).

    Raises ConfigError with the choices if there is none of that name, or for one that cannot be
    without a code.
    """
    kind = choose(MODELS, "config.model.name", name)
    if kind.needs_code and not latent.size:
        raise ConfigError(
            f"config.latent.name=none leaves a {name} model nothing to say: choose another latent, "
            "or config.model.name=sweep"
        )
    return kind(tuple(image_shape), pixels, latent, **hyperparameters)
