"""The glimpses of DRAW: what is kept between and after them, and how the encoder reads without a
window. Equation numbers are those of Gregor et al. (2015)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnae.latents import Normal
from rnnae.nn.cells import Carry, GatedCell
from rnnae.nn.matmul import matmul


class State(NamedTuple):
    """The state between two glimpses. `canvas_BHWC` is c_t of the paper."""

    canvas_BHWC: jax.Array
    encoder: Carry
    decoder: Carry


class Glimpses(NamedTuple):
    """q(z_t | x, z_<t), p(z_t | z_<t) and z_t of every glimpse; time is the leading axis."""

    posterior: Normal
    prior: Normal
    z_TBZ: jax.Array


def whole_image_projection(cell: GatedCell, x_BHWC: jax.Array, matmul_dtype: jnp.dtype) -> Callable:
    """A function (reconstruction_BHWC, h_BD) -> projected_BG: the projection for the gates of
    `cell` of the image, its error (17), and the decoder's state.

    The image x is the same at every glimpse, so its product is computed once:
    V x + W (x - c) + U h + b = ((V + W) x + b) + (U h - W c), with the reconstruction c.
    """
    batch, size = x_BHWC.shape[0], math.prod(x_BHWC.shape[1:])
    kernel_IG, bias_G = cell.weights(cell.input)
    image_IG, u = jnp.split(kernel_IG, [2 * size])
    # The channels of the two images are interleaved in every pixel.
    pairs = image_IG.reshape(-1, 2, x_BHWC.shape[3], len(bias_G))
    v, w = pairs.swapaxes(0, 1).reshape(2, size, -1)
    constant_BG = matmul(x_BHWC.reshape(batch, -1), v + w, matmul_dtype) + bias_G[None]
    step_kernel_IG = jnp.concatenate([-w, u])

    def project(reconstruction_BHWC, h_BD):
        inputs_BI = jnp.concatenate([reconstruction_BHWC.reshape(batch, -1), h_BD], axis=-1)
        return constant_BG + matmul(inputs_BI, step_kernel_IG, matmul_dtype)

    return project
