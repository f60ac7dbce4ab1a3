"""From a config to its splits, model and optimizer. No other file does this."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rnnae import config as config_lib
from rnnae import files, latents, likelihoods, models, optim
from rnnae.data import pipeline
from rnnae.data.augmentation import AUGMENTATIONS
from rnnae.data.datasets import DATASETS
from rnnae.data.splits import Splits
from rnnae.errors import ConfigError, choose
from rnnae.models import Autoencoder
from rnnae.nn.matmul import MATMUL_DTYPES

# Keys of config.data that do not choose images.
_NOT_OF_SPLITS = (
    "batch_size",
    "augment",
    "augment_fraction",
    "binarise",
    "label_dropout",
    "fingerprint",
    "class_names",
)


def load_splits(config: ConfigDict, log: Callable[[str], None] = lambda line: None) -> Splits:
    """The images of a config, downloaded and prepared at the first use.

    `log` gets lines about how many images of which folders went where.
    """
    fields = config.data.to_dict()
    for key in _NOT_OF_SPLITS:
        del fields[key]
    for key in ("data_dir", "source_dir"):
        fields[key] = str(files.expand(fields[key])) if fields[key] else ""
    return pipeline.load(**fields, log=log)


def image_shape(config: ConfigDict) -> tuple[int, int, int] | None:
    """H, W, C of the images of a config; None if only the prepared data set tells them."""
    dataset = DATASETS.get(config.data.name)
    shape = dataset.image_shape if dataset else tuple(config.data.shape)
    return shape if len(shape) == 3 and min(shape) > 0 else None


def resolved(config: ConfigDict, splits: Splits) -> ConfigDict:
    """A copy of the config with the shape, the fingerprint and the classes of its images."""
    fingerprint = splits.fingerprint(with_labels=bool(config.model.classes))
    return config_lib.resolved(config, splits.train.shape[1:], fingerprint, splits.class_names)


def build_model(config: ConfigDict, matmul_precision: str = "float32") -> Autoencoder:
    """The model of a config whose `data.shape` is that of the images.

    `matmul_precision` is that of the operands of its matmuls: `config.optim.matmul_precision` in a
    training step, float32 wherever a number is reported. The parameters are the same for both.

    Raises ConfigError if `data.augment` does not fit the model or its likelihood.
    """
    dtype: jnp.dtype = choose(MATMUL_DTYPES, "config.optim.matmul_precision", matmul_precision)
    shape = tuple(config.data.shape)
    fields = config.model.to_dict()
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    likelihood = likelihoods.likelihood(channels=shape[2], **config.likelihood)
    augmentation = choose(AUGMENTATIONS, "config.data.augment", config.data.augment)
    makes_grey = augmentation is not None and not augmentation.whole_pixels
    if makes_grey and likelihood.binary and config.data.binarise != "dynamic":
        raise ConfigError(
            f"config.data.augment={config.data.augment} makes grey pixels of binary ones: set "
            "config.data.binarise=dynamic, or config.data.augment=shift"
        )
    return models.model(
        fields.pop("name"),
        shape,
        likelihood,
        latents.latent(image_shape=shape, matmul_dtype=dtype, **config.latent),
        augmentation_parameters=augmentation.parameters if augmentation else 0,
        matmul_dtype=dtype,
        **fields,
    )


def build_optimizer(
    config: ConfigDict, total_steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer, learning rate by step) of a config that trains for `total_steps` steps."""
    fields = config.optim.to_dict()
    del fields["ema"], fields["matmul_precision"]
    keys = ("learning_rate", "schedule", "warmup_steps", "final_fraction", "decay_fraction")
    learning_rate = optim.learning_rate_schedule(
        total_steps=total_steps, **{key: fields.pop(key) for key in keys}
    )
    return optim.optimizer(learning_rate, **fields), learning_rate
