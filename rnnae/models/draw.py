"""DRAW: a code drawn and an image painted in T glimpses (Gregor et al. 2015).

At each glimpse the encoder reads the image and what is still missing of it, a part z_t of the code
is drawn, and the decoder adds to a canvas. One step is one glimpse; time is one `nn.scan`.
Equations are numbered as in the paper.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.latents import STANDARD, Normal, StandardNormal, normals
from rnnae.models import attention
from rnnae.models.autoencoder import Autoencoder
from rnnae.nn.cells import Carry, GatedCell, cell_type, dense_2d
from rnnae.nn.matmul import KEPT, product
from rnnae.scan_order import ScanOrder
from rnnae.types import Terms


class State(NamedTuple):
    """What one glimpse leaves for the next; `canvas_BHWC` is c_t of the paper."""

    canvas_BHWC: jax.Array
    encoder: Carry
    decoder: Carry


class Glimpses(NamedTuple):
    """What the glimpses at an image were, time first: q(z_t | ...), p(z_t | ...) and z_t."""

    posterior: Normal
    prior: Normal
    z_TBZ: jax.Array


class Draw(Autoencoder):
    """Fields are the keys of `config.model`. The code has `steps` * `latent.size` numbers.

    Where the likelihood has one parameter for each value, the canvas is its parameters, as in the
    paper; else a canvas of `canvas` channels becomes them by one dense layer, block by block, in a
    mixture of logistics around the image that its first channels are.
    """

    cell: str
    width: int  # D
    steps: int  # T
    read_size: int  # N of the reading window; 0: the whole image, no attention
    write_size: int  # N of the writing window; 0: the whole canvas, no attention
    learned_prior: bool
    canvas: int

    def setup(self):
        if type(self.latent) is not StandardNormal or self.latent.inference != "diagonal":
            raise ConfigError(
                "config.model.name=draw needs config.latent.name=gaussian and inference=diagonal: "
                "its posterior depends on what was painted before, and so does its prior with "
                "config.model.learned_prior=True"
            )
        height, width, channels = self.image_shape
        self.plain = self.pixels.parameters == channels and self.pixels.block == 1
        self.canvas_shape = (height, width, channels if self.plain else self.canvas)
        if self.canvas_shape[2] < channels:
            raise ConfigError(
                f"config.model.canvas={self.canvas} is less than the image's {channels} channels"
            )
        if height % self.pixels.block or width % self.pixels.block:
            raise ConfigError(
                f"config.likelihood.block={self.pixels.block} does not divide a "
                f"{height}x{width} image"
            )
        self.encoder = cell_type(self.cell)(self.width)
        self.decoder = cell_type(self.cell)(self.width)
        self.initial_canvas = self.param("canvas", nn.initializers.zeros, self.canvas_shape)
        states = 2 * self.encoder.state_size
        self.initial_state = self.param("state", nn.initializers.zeros, (states, self.width))
        if self.read_size:
            bias = attention.whole_image(height, width, self.read_size, writes=False)
            self.look = nn.Dense(attention.PARAMETERS, bias_init=bias)
        if self.write_size:
            bias = attention.whole_image(height, width, self.write_size, writes=True)
            self.point = nn.Dense(attention.PARAMETERS, bias_init=bias)
            self.patch = nn.Dense(self.write_size**2 * self.canvas_shape[2])
        else:
            self.paint_all = nn.Dense(height * width * self.canvas_shape[2])
        if self.learned_prior:
            self.prior_head = nn.Dense(2 * self.latent.size, kernel_init=nn.initializers.zeros)
        if not self.plain:
            self.head = nn.Dense(self.pixels.parameters)

    @property
    def code_size(self) -> int:
        return self.steps * self.latent.size

    def infer(self, x_BHWC: jax.Array) -> jax.Array:
        """The image: every glimpse depends on the draws before it."""
        return x_BHWC

    def terms(self, posterior: jax.Array, x_BHWC: jax.Array, key_B: jax.Array) -> Terms:
        noise_TBZ = self._parts(normals(key_B, self.code_size))
        state, glimpses = self._look(posterior, noise_TBZ, Normal.at)
        log_prob_B = self.pixels.log_prob(self._params(state.canvas_BHWC), x_BHWC)  # (9)
        kl_TBZ = glimpses.posterior.kl(glimpses.prior)  # (10), (11)
        log_prior_TBZ = glimpses.prior.log_prob(glimpses.z_TBZ)
        log_ratio_TBZ = log_prior_TBZ - glimpses.posterior.log_prob(glimpses.z_TBZ)
        return Terms(log_prob_B, kl_TBZ.swapaxes(0, 1), jnp.sum(log_ratio_TBZ, axis=(0, 2)))

    def encode(self, x_BHWC: jax.Array) -> jax.Array:
        """z_BZ with every part at the mean of its posterior given those before it."""
        zero_TBZ = jnp.zeros((self.steps, x_BHWC.shape[0], self.latent.size))
        return self._code(self._look(x_BHWC, zero_TBZ, Normal.at)[1].z_TBZ)

    def draw(self, posterior: jax.Array, key_B: jax.Array) -> jax.Array:
        noise_TBZ = self._parts(normals(key_B, self.code_size))
        return self._code(self._look(posterior, noise_TBZ, Normal.at)[1].z_TBZ)

    def log_posterior(self, posterior: jax.Array, z_BZ: jax.Array) -> jax.Array:
        _, glimpses = self._look(posterior, self._parts(z_BZ), lambda normal, z_BZ: z_BZ)
        return jnp.sum(glimpses.posterior.log_prob(glimpses.z_TBZ), axis=(0, 2))

    def run_free(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        del key_B
        state, _ = self._paint(self._parts(z_BZ), lambda prior, z_BZ: z_BZ)
        return self._params(state.canvas_BHWC)

    def prior(self, key_B: jax.Array) -> jax.Array:
        noise_BZ = normals(key_B, self.code_size)
        if not self.learned_prior:
            return noise_BZ  # (13)
        return self._code(self._paint(self._parts(noise_BZ), Normal.at)[1][0])

    def frames(self, z_BZ: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mean image after each glimpse, (T, B, H, W, C), and where it wrote: (T, B, 3), the
        centre y and x of the window and the distance between its outermost filters, in pixels."""
        _, (_, canvas_TBHWC, where_TB3) = self._paint(self._parts(z_BZ), lambda prior, z_BZ: z_BZ)
        flat = canvas_TBHWC.reshape(-1, *self.canvas_shape)
        mean = self.pixels.mean(self._params(flat))
        return mean.reshape(self.steps, -1, *self.image_shape), where_TB3

    def _look(self, x_BHWC, inputs_TBZ, choose: Callable) -> tuple[State, Glimpses]:
        """Reads and paints an image; `choose(q(z_t | ...), input_BZ)` gives z_t."""

        see = self._sight(x_BHWC)

        def step(model, state, input_BZ):
            encoder, h_encoder_BD = model.encoder.step(state.encoder, see(model, state))  # (5)
            posterior = model.latent.posterior(h_encoder_BD)  # (1), (2)
            z_BZ = choose(posterior, input_BZ)  # (6)
            prior = model._prior(state.decoder[0], z_BZ)
            state = model._advance(state._replace(encoder=encoder), z_BZ)[0]
            return state, Glimpses(posterior, prior, z_BZ)

        return self._scan(step, x_BHWC.shape[0], inputs_TBZ)

    def _paint(self, inputs_TBZ, choose: Callable):
        """Paints with no image to read; `choose(p(z_t | ...), input_BZ)` gives z_t. The outputs are
        z_t, the canvas and where it was written to, time first."""

        def step(model, state, input_BZ):
            z_BZ = choose(model._prior(state.decoder[0], input_BZ), input_BZ)
            state, where_B3 = model._advance(state, z_BZ)
            return state, (z_BZ, state.canvas_BHWC, where_B3)

        return self._scan(step, inputs_TBZ.shape[1], inputs_TBZ)

    def _scan(self, step, batch: int, inputs_TBZ):
        # Gradients recompute each glimpse from its state and its dense layers' products: to store
        # all that is inside one costs more time on a CPU, and several times the memory.
        step = nn.remat(step, prevent_cse=False, policy=KEPT)
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, self._start(batch), inputs_TBZ)

    def _start(self, batch: int) -> State:
        def of_batch(x):
            return jnp.broadcast_to(x, (batch, *x.shape))

        rows = tuple(of_batch(row) for row in self.initial_state)
        half = len(rows) // 2
        return State(of_batch(self.initial_canvas), rows[:half], rows[half:])

    def _sight(self, x_BHWC) -> Callable:
        """(model, state) -> p_BG: what the encoder's gates read of the glimpse, (3) and (4)."""

        def glimpse(model, state):
            h_BD = state.decoder[0]
            read_BI = model._read(x_BHWC, state.canvas_BHWC, h_BD)
            return model.encoder.project(jnp.concatenate([read_BI, h_BD], axis=-1))

        cell = self.encoder
        if self.read_size or not isinstance(cell, GatedCell) or self.is_initializing():
            return glimpse
        # Without a window the image x is the same at every glimpse, and its share is read once:
        # V x + W (x - c) + U h + b = ((V + W) x + b) + (U h - W c).
        batch, size, dtype = x_BHWC.shape[0], math.prod(self.image_shape), cell.operands()
        kernel_IG, bias_G = cell.weights(cell.input)
        image_IG, u = jnp.split(kernel_IG, [2 * size])
        # `_read` has the channels of both images side by side in every pixel.
        pairs = image_IG.reshape(-1, 2, x_BHWC.shape[3], len(bias_G))
        v, w = pairs.swapaxes(0, 1).reshape(2, size, -1)
        once_BG = product(x_BHWC.reshape(batch, -1), v + w, dtype) + bias_G[None]
        each_IG = jnp.concatenate([-w, u])

        def whole(model, state):
            estimate_BI = model._estimate(state.canvas_BHWC).reshape(batch, -1)
            read_BI = jnp.concatenate([estimate_BI, state.decoder[0]], axis=-1)
            return once_BG + product(read_BI, each_IG, dtype)

        return whole

    def _read(self, x_BHWC, canvas_BHWC, h_BD):
        error_BHWC = x_BHWC - self._estimate(canvas_BHWC)  # (3)
        images = (x_BHWC, error_BHWC)
        if self.read_size:  # (27), else (17)
            window = attention.window(self.look(h_BD), *self.image_shape[:2], self.read_size)
            images = tuple(attention.read(image, window, self.read_size) for image in images)
        return jnp.concatenate(images, axis=-1).reshape(x_BHWC.shape[0], -1)

    def _prior(self, h_BD, like_BZ) -> Normal:
        if self.learned_prior:
            return Normal.of(self.prior_head(h_BD))
        return Normal(*(jnp.full_like(like_BZ, value) for value in STANDARD))

    def _advance(self, state: State, z_BZ) -> tuple[State, jax.Array]:
        """(7), (8): the state after z_t, and where the canvas was written to."""
        height, width, channels = self.canvas_shape
        decoder, h_BD = self.decoder(state.decoder, z_BZ)
        batch = z_BZ.shape[0]
        if self.write_size:  # (28), (29)
            window = attention.window(self.point(h_BD), height, width, self.write_size)
            patch = self.patch(h_BD).reshape(batch, self.write_size, self.write_size, channels)
            written = attention.write(patch, window, height, width)
            extent = (self.write_size - 1) * window.stride
            where_B3 = jnp.stack([window.centre_y, window.centre_x, extent], axis=-1)
        else:  # (18)
            written = self.paint_all(h_BD).reshape(batch, height, width, channels)
            whole = jnp.array([(height + 1) / 2, (width + 1) / 2, max(height, width) - 1.0])
            where_B3 = jnp.broadcast_to(whole, (batch, 3))
        canvas_BHWC = state.canvas_BHWC + written
        return state._replace(canvas_BHWC=canvas_BHWC, decoder=decoder), where_B3

    def _params(self, canvas_BHWC):
        """The canvas as likelihood parameters, params_BHWP."""
        if self.plain:
            return canvas_BHWC
        k = self.pixels.block
        blocks = ScanOrder(self.canvas_shape, k, k)
        params_TBP = dense_2d(self.head, blocks.to_tokens(canvas_BHWC))
        params_BHWP = blocks.in_blocks(k, self.pixels.parameters).to_image(params_TBP)
        return self.pixels.around(params_BHWP, self._estimate(canvas_BHWC))

    def _estimate(self, canvas_BHWC):
        """What the canvas makes of the image, the sigmoid of (3): its first channels."""
        return nn.sigmoid(canvas_BHWC[..., : self.image_shape[2]])

    def _parts(self, z_BZ):
        """(B, T Z) -> (T, B, Z)."""
        return z_BZ.reshape(-1, self.steps, self.latent.size).swapaxes(0, 1)

    def _code(self, z_TBZ):
        """The inverse of `_parts`."""
        return z_TBZ.swapaxes(0, 1).reshape(-1, self.code_size)
