"""A plain multi-layer perceptron autoencoder: the baseline row of tables, and nothing more."""

import jax
from flax import linen as nn

from rnnae.models.autoencoder import Autoencoder
from rnnae.scan_order import ScanOrder


class MLP(Autoencoder):
    """Flattened image -> `widths` with ReLU -> code -> `widths` reversed -> image."""

    widths: tuple[int, ...]

    def setup(self):
        height, width, _ = self.image_shape
        whole = ScanOrder(self.image_shape, height, width)
        self.blocks = whole.in_blocks(self.pixels.block, self.pixels.parameters)
        self.encoder = [nn.Dense(width) for width in self.widths]
        self.decoder = [nn.Dense(width) for width in reversed(self.widths)]
        self.head = nn.Dense(self.blocks.token_size)

    def read(self, x_BHWC: jax.Array) -> jax.Array:
        h_BD = x_BHWC.reshape(x_BHWC.shape[0], -1)
        for layer in self.encoder:
            h_BD = nn.relu(layer(h_BD))
        return h_BD

    def write(self, z_BZ: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        del x_BHWC
        return self._params(z_BZ)

    def run_free(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        del key_B
        return self._params(z_BZ)

    def _params(self, z_BZ):
        h_BD = z_BZ
        for layer in self.decoder:
            h_BD = nn.relu(layer(h_BD))
        return self.blocks.token_to_image(self.head(h_BD))
