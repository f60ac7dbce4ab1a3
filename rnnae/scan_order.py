"""ORDERS: how an image becomes a sequence of tokens, with an exact inverse.

Every order cuts the image into equal rectangles, the tokens, in raster order. The orders differ
only in the size of the rectangle. To add an order, add one line to `ORDERS`.
"""

import dataclasses
from collections.abc import Callable

import jax

from rnnae.errors import ConfigError, choose


@dataclasses.dataclass(frozen=True)
class ScanOrder:
    """An image of `image_shape` (H, W, C) as tokens of `token_height` x `token_width` pixels."""

    image_shape: tuple[int, int, int]
    token_height: int
    token_width: int

    def __post_init__(self):
        height, width, _ = self.image_shape
        if height % self.token_height or width % self.token_width:
            raise ConfigError(
                f"a {height}x{width} image does not divide into tokens of "
                f"{self.token_height}x{self.token_width} pixels; choose config.model.patch to "
                "divide both sides, or another config.model.order"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of tokens."""
        height, width, _ = self.image_shape
        return height // self.token_height, width // self.token_width

    @property
    def steps(self) -> int:
        """T, the length of the sequence."""
        rows, columns = self.grid
        return rows * columns

    @property
    def token_size(self) -> int:
        """I, the number of values in one token."""
        return self.token_height * self.token_width * self.image_shape[2]

    def in_blocks(self, block: int, channels: int) -> "ScanOrder":
        """The same tokens over an array with `channels` values for each block of `block` x `block`
        pixels, such as likelihood parameters. ConfigError if blocks do not fit into tokens."""
        if self.token_height % block or self.token_width % block:
            raise ConfigError(
                f"config.likelihood.block={block} does not divide the {self.token_height}x"
                f"{self.token_width} pixels of a token; change it, config.model.order or "
                "config.model.patch"
            )
        height, width, _ = self.image_shape
        return ScanOrder(
            (height // block, width // block, channels),
            self.token_height // block,
            self.token_width // block,
        )

    def token_to_image(self, x_BI: jax.Array) -> jax.Array:
        """One token x_BI of each example as an image, (B, token height, token width, C)."""
        return x_BI.reshape(x_BI.shape[0], self.token_height, self.token_width, -1)

    def to_tokens(self, image_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> x_TBI. C may differ from that of `image_shape`."""
        batch, channels = image_BHWC.shape[0], image_BHWC.shape[3]
        rows, columns = self.grid
        split = (batch, rows, self.token_height, columns, self.token_width, channels)
        # B, row, y, column, x, C -> row, column, B, y, x, C
        ordered = image_BHWC.reshape(split).transpose(1, 3, 0, 2, 4, 5)
        return ordered.reshape(self.steps, batch, -1)

    def to_image(self, x_TBI: jax.Array) -> jax.Array:
        """The exact inverse of `to_tokens`."""
        batch = x_TBI.shape[1]
        rows, columns = self.grid
        split = (rows, columns, batch, self.token_height, self.token_width, -1)
        # row, column, B, y, x, C -> B, row, y, column, x, C
        ordered = x_TBI.reshape(split).transpose(2, 0, 3, 1, 4, 5)
        return ordered.reshape(batch, *self.image_shape[:2], -1)


# name -> function of the image's (H, W, C) and the patch size -> (height, width) of a token
ORDERS: dict[str, Callable[[tuple[int, int, int], int], tuple[int, int]]] = {
    "rows": lambda shape, patch: (1, shape[1]),
    "columns": lambda shape, patch: (shape[0], 1),
    "patches": lambda shape, patch: (patch, patch),
    "pixels": lambda shape, patch: (1, 1),
}


def scan_order(name: str, image_shape: tuple[int, int, int], patch: int = 1) -> ScanOrder:
    """The order called `name` for images of `image_shape` (H, W, C).

    Raises ConfigError for an unknown name or a patch that does not divide the image.
    """
    rectangle = choose(ORDERS, "config.model.order", name)
    if patch < 1:
        raise ConfigError(f"config.model.patch must be at least 1, not {patch}")
    return ScanOrder(tuple(image_shape), *rectangle(image_shape, patch))
