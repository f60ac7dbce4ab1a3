"""A recurrent classifier of images, whose features measure how good new images are.

It is no autoencoder. It has the interface of one so that it is trained, resumed and evaluated by
the same code: the term that stands for log p(x | z) is log p(label | x).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.models.autoencoder import Autoencoder
from rnnae.nn.matmul import Dense
from rnnae.nn.recurrence import Stack
from rnnae.scan_order import scan_order
from rnnae.types import Terms


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    cell: str
    width: int
    layers: int
    connections: str
    features: int
    shift: int


class Classifier(Autoencoder):
    """Rows of the image -> recurrence in both directions -> features -> logits of the classes.

    The features read the last state of each direction and the maximum over all rows.
    """

    options: ClassifierOptions

    Options: ClassVar[type] = ClassifierOptions
    needs_latent: ClassVar[bool] = False
    generative: ClassVar[bool] = False

    def setup(self):
        if self.latent_dimensions:
            raise ConfigError("config.model.name=classifier needs config.latent.name=none")
        if not self.classes:
            raise ConfigError(
                "config.model.name=classifier needs the number of classes, config.model.classes"
            )
        options, dtype = self.options, self.matmul_dtype
        self.rows = scan_order("rows", self.image_shape)
        self.recurrence = Stack(
            options.cell, options.width, options.layers, "both", options.connections, dtype
        )
        self.feature_layer = Dense(options.features, matmul_dtype=dtype)
        self.output = Dense(self.classes, matmul_dtype=dtype)

    def __call__(
        self, x_BHWC: jax.Array, key_B: jax.Array, label_B: jax.Array | None = None
    ) -> Terms:
        """For training: log p(label | x), nats, of randomly shifted images as the term of the
        likelihood, and no KL. An unknown label (-1) has the log-probability 0 and no gradient."""
        batch = x_BHWC.shape[0]
        label_B = jnp.full(batch, -1) if label_B is None else label_B
        log_prob_B = self.log_prob(shifted(x_BHWC, key_B, self.options.shift), label_B)
        return Terms(log_prob_B, jnp.zeros((batch, 1, 0)), jnp.zeros(batch))

    def log_prob(self, x_BHWC: jax.Array, label_B: jax.Array) -> jax.Array:
        """log p(label | x), (B,), nats."""
        log_prob_BY = nn.log_softmax(self.logits(x_BHWC))
        return jnp.sum(jax.nn.one_hot(label_B, self.classes) * log_prob_BY, axis=-1)

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        """The activations before the output layer, features_BD with D = `options.features`."""
        _, h_TBD = self.recurrence(self.rows.to_tokens(x_BHWC))
        width = self.options.width
        last_BD = jnp.concatenate([h_TBD[-1, :, :width], h_TBD[0, :, width:]], axis=-1)
        h_BD = jnp.concatenate([last_BD, jnp.max(h_TBD, axis=0)], axis=-1)
        return nn.gelu(self.feature_layer(h_BD))

    def logits(self, x_BHWC: jax.Array) -> jax.Array:
        """The logits of all classes, (B, classes)."""
        return self.output(self.encode_features(x_BHWC))


def shifted(x_BHWC: jax.Array, key_B: jax.Array, most: int) -> jax.Array:
    """Each image moved by a random whole number of pixels, at most `most` in each direction. What
    comes in at the sides is black."""
    if not most:
        return x_BHWC
    sides = (most, most)
    padded_BHWC = jnp.pad(x_BHWC, ((0, 0), sides, sides, (0, 0)))

    def crop(x_HWC, key):
        y, x = jax.random.randint(key, (2,), 0, 2 * most + 1)
        return jax.lax.dynamic_slice(x_HWC, (y, x, 0), x_BHWC.shape[1:])

    return jax.vmap(crop)(padded_BHWC, key_B)
