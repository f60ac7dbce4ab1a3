"""MODELS: the autoencoders. Every one is built by `model(name, image_shape, **hyperparameters)`.

A model is an `nn.Module` with `__call__(x_BHWC) -> Terms`, `encode(x_BHWC) -> z_BZ` and
`decode(z_BZ, key) -> mean image`. To add one: its file, its line in `MODELS`, its hyperparameters
in `config.py`.
"""

from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.models.mlp import MLP
from rnnae.models.sequence import Sequence

MODELS: dict[str, type[nn.Module]] = {"mlp": MLP, "sequence": Sequence}


def model(name: str, image_shape: tuple[int, int, int], **hyperparameters) -> nn.Module:
    """The model called `name` for images of `image_shape` (H, W, C); ConfigError if none."""
    if name not in MODELS:
        raise ConfigError(f"unknown config.model.name {name!r}; choose one of {', '.join(MODELS)}")
    return MODELS[name](image_shape=tuple(image_shape), **hyperparameters)
