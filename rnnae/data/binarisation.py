"""From uint8 images to what a model sees: intensities, or pixels that are binarised from them.

There are three protocols, and likelihoods of different protocols cannot be compared:

    8bit     images with 256 levels
    static   images that are stored as 0 and 255, such as those of `binarized_mnist`
    dynamic  each pixel is drawn from Bernoulli(intensity), again at each visit in training
             (`binarise`), and once for evaluation (`binarise_once`)
"""

import jax
import jax.numpy as jnp
import numpy as np

from rnnae.config.validation import check_seed
from rnnae.data.images import ImageArray

# The second word of the Philox key of `binarise_once`. A change would change every reported number.
_PHILOX_STREAM = 0x62696E


def protocol(images: ImageArray, binarise: str) -> str:
    """The protocol (dynamic, static or 8bit) of a split with `config.data.binarise`.

    Of images on disk only the first 1,000 are looked at.
    """
    if not isinstance(images, np.ndarray):
        images = images[np.arange(min(len(images), 1000))]
    if np.all((images == 0) | (images == 255)):
        return "static"  # also with binarise=dynamic, which does not change such images
    return "dynamic" if binarise == "dynamic" else "8bit"


def evaluation_images(images: ImageArray, binarise: str, seed: int) -> ImageArray:
    """The images to evaluate on: for `binarise="dynamic"` binarised once, else the images."""
    if binarise == "dynamic":
        return binarise_once(images[np.arange(len(images))], seed)
    return images


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 -> float32 intensities in [0, 1], on the device."""
    return jnp.asarray(image, jnp.float32) / 255.0


def binarise(x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
    """float32 0 or 1, drawn from Bernoulli(intensity), on the device.

    Each example has a key of its own, so that the draws do not depend on how devices share a batch.
    """
    return jax.vmap(jax.random.bernoulli)(key_B, x_BHWC).astype(jnp.float32)


def binarise_once(images: np.ndarray, seed: int) -> np.ndarray:
    """uint8 0 or 255, drawn from Bernoulli(intensity); always the same for a seed, on any machine.
    ConfigError for a seed that is not an integer from 0 to MAX_SEED.

    A pixel of 0 always gives 0, and one of 255 always gives 255.
    """
    # It uses the raw words of Philox, because NumPy may change the methods of its Generator.
    raw = np.random.Philox(key=[check_seed(seed), _PHILOX_STREAM]).random_raw(images.size)
    uniform = (raw >> 11).reshape(images.shape) * 2.0**-53
    return np.where(uniform * 255 < images, np.uint8(255), np.uint8(0))
