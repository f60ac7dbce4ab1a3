"""A plain multi-layer perceptron autoencoder: the baseline row of tables."""

import dataclasses
from typing import ClassVar

import jax
from flax import linen as nn

from rnnae.models.autoencoder import Autoencoder
from rnnae.nn.matmul import Dense
from rnnae.scan_order import ScanOrder


@dataclasses.dataclass(frozen=True)
class MLPOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    widths: tuple[int, ...]


class MLP(Autoencoder):
    """Flattened image -> layers of `widths` with ReLU -> latent -> the same widths in reverse order
    -> likelihood parameters."""

    options: MLPOptions

    Options: ClassVar[type] = MLPOptions

    def setup(self):
        height, width, _ = self.image_shape
        whole_image = ScanOrder(self.image_shape, height, width)
        self.params_order = whole_image.in_blocks(self.likelihood.block, self.likelihood.parameters)
        widths, dtype = self.options.widths, self.matmul_dtype
        self.encoder = [Dense(width, matmul_dtype=dtype) for width in widths]
        self.decoder = [Dense(width, matmul_dtype=dtype) for width in reversed(widths)]
        self.head = Dense(self.params_order.token_size, matmul_dtype=dtype)

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        h_BD = x_BHWC.reshape(x_BHWC.shape[0], -1)
        for layer in self.encoder:
            h_BD = nn.relu(layer(h_BD))
        return h_BD

    def decode_teacher_forced(
        self, z_BZ: jax.Array, x_BHWC: jax.Array | None, label_B: jax.Array | None = None
    ) -> jax.Array:
        del x_BHWC  # the decoder is not autoregressive
        h_BD = self.condition(z_BZ, label_B)
        for layer in self.decoder:
            h_BD = nn.relu(layer(h_BD))
        return self.params_order.token_to_image(self.head(h_BD))
