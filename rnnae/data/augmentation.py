"""AUGMENTATIONS: how training images may be transformed, on the device, as grey levels.

This is distribution augmentation (Jun et al. 2020): the model is told the parameters of the
transformation, and all of them are 0 for an image as it is. So it models p(x | parameters), and
evaluation asks for p(x | 0), the likelihood of images as they are.

To add one, add a line to `AUGMENTATIONS`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from rnnae import rng

_STREAM = 0x6175  # names the random numbers that choose a transformation


class Augmentation(NamedTuple):
    """Affine maps of the plane. An image's parameters are uniform in [-1, 1], in units of `most`:
    the shift in pixels down and to the right, the angle in radians, the logarithm of the scale, and
    the shear in columns for each row. Those that `most` leaves out are 0."""

    most: tuple[float, ...]
    whole_pixels: bool = False  # parameters are such that shifts are whole numbers of pixels

    @property
    def parameters(self) -> int:
        """A, how many numbers the model is told."""
        return len(self.most)


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "shift": Augmentation((2, 2), whole_pixels=True),
    "affine": Augmentation((2, 2, 0.15, 0.1, 0.1)),
}


def sample_parameters(augmentation: Augmentation, key_B: jax.Array, fraction: float) -> jax.Array:
    """Random parameters for each image, (B, A). An image stays as it is, with all parameters 0,
    with probability 1 - `fraction`."""
    key_B = rng.stream(key_B, _STREAM)
    most_A = jnp.asarray(augmentation.most)

    def sample(key):
        which, values = jax.random.split(key)
        if augmentation.whole_pixels:
            whole_A = most_A.astype(jnp.int32)
            parameters_A = jax.random.randint(values, most_A.shape, -whole_A, whole_A + 1) / most_A
        else:
            parameters_A = jax.random.uniform(values, most_A.shape, minval=-1, maxval=1)
        return jnp.where(jax.random.bernoulli(which, fraction), parameters_A, 0.0)

    return jax.vmap(sample)(key_B)


def transform(augmentation: Augmentation, x_BHWC: jax.Array, parameters_BA: jax.Array) -> jax.Array:
    """Images of 256 levels in [0, 1], scaled, turned, sheared and shifted in this order, and
    rounded to 256 levels again. Values between pixels are interpolated linearly, and what comes in
    from outside is black."""
    most_A = jnp.asarray(augmentation.most)
    row_HW, column_HW = jnp.indices(x_BHWC.shape[1:3], jnp.float32)
    centre = [(size - 1) / 2 for size in x_BHWC.shape[1:3]]

    def one(x_HWC, parameters_A):
        amounts_5 = jnp.pad(parameters_A * most_A, (0, 5 - augmentation.parameters))
        down, right, angle, log_scale, shear = amounts_5
        # Backwards: where in the image each pixel of the transformed image comes from.
        y_HW, x_HW = row_HW - centre[0] - down, column_HW - centre[1] - right
        x_HW = x_HW - shear * y_HW
        cosine, sine = jnp.cos(angle) / jnp.exp(log_scale), jnp.sin(angle) / jnp.exp(log_scale)
        y_HW, x_HW = cosine * y_HW - sine * x_HW, sine * y_HW + cosine * x_HW
        places = [y_HW + centre[0], x_HW + centre[1]]
        return jax.vmap(lambda channel_HW: map_coordinates(channel_HW, places, 1), 2, 2)(x_HWC)

    return jnp.round(jax.vmap(one)(x_BHWC, parameters_BA) * 255) / 255
