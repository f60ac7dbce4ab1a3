"""MODELS: the autoencoders, and a classifier. `model(name, ...)` builds one; `autoencoder.py` has
their interface.

To add a model, write its file with a subclass of `Autoencoder` and a dataclass of its options, add
one line to `MODELS`, and add the defaults of the options to `config/defaults.py`.
"""

import jax.numpy as jnp

from rnnae.errors import ConfigError, choose
from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.classifier import Classifier
from rnnae.models.draw import Draw
from rnnae.models.mlp import MLP
from rnnae.models.sampling import Sampling
from rnnae.models.sequence import Sequence
from rnnae.models.sweep import Sweep

__all__ = ["MODELS", "Autoencoder", "Sampling", "model", "require_capability", "require_generative"]

MODELS: dict[str, type[Autoencoder]] = {
    "mlp": MLP,
    "sequence": Sequence,
    "draw": Draw,
    "sweep": Sweep,
    "classifier": Classifier,
}


def model(
    name: str,
    image_shape: tuple[int, int, int],
    likelihood: Likelihood,
    latent: Latent,
    *,
    classes: int = 0,
    augmentation_parameters: int = 0,
    matmul_dtype: jnp.dtype = jnp.float32,
    **options,
) -> Autoencoder:
    """The model called `name` for images of `image_shape` (H, W, C).

    `classes` is the number of classes that its decoder is told, 0 for none.
    `augmentation_parameters` is how many numbers it is told about how a training image was
    transformed (`data/augmentation.py`). `options` are the other keys of `config.model`.
    ConfigError for an unknown name, for a model that needs a latent if `latent` has no dimensions,
    and for a model that cannot be told about a transformation.
    """
    kind = choose(MODELS, "config.model.name", name)
    if kind.needs_latent and not latent.size:
        raise ConfigError(
            f"a {name} model needs a latent, and config.latent.name=none has no dimensions: choose "
            "another latent, or a config file of the sweep model such as configs/mnist_sweep.py"
        )
    built = kind(
        tuple(image_shape),
        likelihood,
        latent,
        kind.Options(**options),
        classes=classes,
        augmentation_parameters=augmentation_parameters,
        matmul_dtype=matmul_dtype,
    )
    if augmentation_parameters:
        require_capability(built, "augment", "can train with config.data.augment")
    return built


def require_generative(model: Autoencoder) -> None:
    """ConfigError for a classifier."""
    if not model.generative:
        raise ConfigError(
            "a classifier makes no images: give a run of another model, or use --mode evaluate"
        )


def require_capability(model: Autoencoder, capability: str, action: str) -> None:
    """ConfigError that names the models which have `capability`, unless `model` has it.

    `action` says what they do, as the end of "only config.model.name=... ".
    """
    if capability not in model.capabilities:
        able = [name for name, kind in MODELS.items() if capability in kind.capabilities]
        raise ConfigError(f"only config.model.name={' or '.join(able)} {action}")
