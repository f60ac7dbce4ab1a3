"""MODELS: the autoencoders. Every one is built by `model(name, ...)`; see `autoencoder.py`.

To add one: its file with a subclass of `Autoencoder`, its line in `MODELS`, its hyperparameters in
`config.py`.
"""

from rnnae.errors import choose
from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.draw import Draw
from rnnae.models.mlp import MLP
from rnnae.models.sequence import Sequence

MODELS: dict[str, type[Autoencoder]] = {"mlp": MLP, "sequence": Sequence, "draw": Draw}


def model(
    name: str,
    image_shape: tuple[int, int, int],
    pixels: Likelihood,
    latent: Latent,
    **hyperparameters,
) -> Autoencoder:
    """The model called `name` for images of `image_shape` (H, W, C).

    Raises ConfigError with the choices if there is none of that name.
    """
    kind = choose(MODELS, "config.model.name", name)
    return kind(tuple(image_shape), pixels, latent, **hyperparameters)
