"""DRAW: the latent is sampled and the image is painted in T glimpses (Gregor et al. 2015).

At each glimpse the encoder reads the image and its difference from the current reconstruction, a
part z_t of the latent is sampled, and the decoder adds to a canvas. One step of the recurrence is
one glimpse; time is one `nn.scan`. Equation numbers are those of the paper.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.latents import STANDARD_NORMAL, Normal, StandardNormalPrior, normal_noise
from rnnae.models import attention
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.glimpses import Glimpses, State, whole_image_projection
from rnnae.nn.cells import GatedCell, cell_type
from rnnae.nn.matmul import SAVED_MATMULS, Dense
from rnnae.scan_order import ScanOrder
from rnnae.types import Terms


@dataclasses.dataclass(frozen=True)
class DrawOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    cell: str
    width: int  # D
    steps: int  # T
    read_size: int  # N of the reading window; 0: the whole image, no attention
    write_size: int  # N of the writing window; 0: the whole canvas, no attention
    learned_prior: bool
    canvas: int


class Draw(Autoencoder):
    """The whole latent has `steps` * `latent.size` dimensions.

    If the likelihood has one parameter for each value of the image, the canvas is the array of its
    parameters, as in the paper. Otherwise the canvas has `canvas` channels, and one dense layer
    maps each block of it to likelihood parameters. For a mixture of logistics these are relative to
    the current reconstruction, which is in the first channels of the canvas.

    The decoder's cell reads the class beside z_t. The posterior and a learned prior read its state,
    so they depend on the class too: q(z | x, y) and p(z | y).
    """

    options: DrawOptions

    Options: ClassVar[type] = DrawOptions
    capabilities: ClassVar[frozenset[str]] = frozenset({"frames"})

    def setup(self):
        family = self.latent.posterior_family
        if type(self.latent) is not StandardNormalPrior or family != "diagonal":
            raise ConfigError(
                "DRAW needs config.latent.name=gaussian and config.latent.posterior=diagonal: its "
                "posterior depends on the canvas, and its prior too if it is learned"
            )
        options, block = self.options, self.likelihood.block
        height, width, channels = self.image_shape
        self.canvas_is_params = self.likelihood.parameters == channels and block == 1
        canvas_channels = channels if self.canvas_is_params else options.canvas
        self.canvas_shape = (height, width, canvas_channels)
        if canvas_channels < channels:
            raise ConfigError(
                f"config.model.canvas={options.canvas} is less than the image's {channels} channels"
            )
        if height % block or width % block:
            sides = f"a {height}x{width} image"
            raise ConfigError(f"config.likelihood.block={block} does not divide {sides}")
        dense = functools.partial(Dense, matmul_dtype=self.matmul_dtype)
        new_cell = functools.partial(cell_type(options.cell), options.width, self.matmul_dtype)
        self.encoder, self.decoder = new_cell(), new_cell()
        # Explicit names of submodules and parameters are the names in saved checkpoints.
        self.initial_canvas = self.param("canvas", nn.initializers.zeros, self.canvas_shape)
        states = 2 * self.encoder.state_size
        self.initial_state = self.param("state", nn.initializers.zeros, (states, options.width))
        if options.read_size:
            bias = attention.whole_image_bias(height, width, options.read_size, writes=False)
            self.read_window = dense(attention.WINDOW_PARAMETERS, bias_init=bias, name="look")
        if options.write_size:
            bias = attention.whole_image_bias(height, width, options.write_size, writes=True)
            self.write_window = dense(attention.WINDOW_PARAMETERS, bias_init=bias, name="point")
            self.written_patch = dense(options.write_size**2 * canvas_channels, name="patch")
        else:
            self.written_canvas = dense(height * width * canvas_channels, name="paint_all")
        if options.learned_prior:
            self.prior_head = dense(2 * self.latent.size, kernel_init=nn.initializers.zeros)
        if not self.canvas_is_params:
            self.head = dense(self.likelihood.parameters)

    @property
    def latent_dimensions(self) -> int:
        return self.options.steps * self.latent.size

    def posterior(self, x_BHWC: jax.Array) -> jax.Array:
        """The image itself: q(z_t | x, z_<t) depends on the samples before z_t."""
        return x_BHWC

    def terms(
        self,
        posterior: jax.Array,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
    ) -> Terms:
        noise_TBZ = self._noise(key_B)
        state, glimpses = self.run_glimpses(posterior, noise_TBZ, Normal.reparameterize, label_B)
        params_BHWP = self.canvas_to_params(state.canvas_BHWC)
        log_prob_B = self.likelihood.log_prob(params_BHWP, x_BHWC)  # (9)
        kl_TBZ = glimpses.posterior.kl(glimpses.prior)  # (10), (11)
        log_prior_TBZ = glimpses.prior.log_prob(glimpses.z_TBZ)
        log_ratio_TBZ = log_prior_TBZ - glimpses.posterior.log_prob(glimpses.z_TBZ)
        return Terms(log_prob_B, kl_TBZ.swapaxes(0, 1), jnp.sum(log_ratio_TBZ, axis=(0, 2)))

    def encode(self, x_BHWC: jax.Array, label_B: jax.Array | None = None) -> jax.Array:
        """z_BZ in which every part is the mean of its posterior given the parts before it."""
        zero_TBZ = jnp.zeros((self.options.steps, x_BHWC.shape[0], self.latent.size))
        glimpses = self.run_glimpses(x_BHWC, zero_TBZ, Normal.reparameterize, label_B)[1]
        return self.join_steps(glimpses.z_TBZ)

    def sample_posterior(
        self, posterior: jax.Array, key_B: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        noise_TBZ = self._noise(key_B)
        glimpses = self.run_glimpses(posterior, noise_TBZ, Normal.reparameterize, label_B)[1]
        return self.join_steps(glimpses.z_TBZ)

    def log_posterior(
        self, posterior: jax.Array, z_BZ: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        glimpses = self.run_glimpses(posterior, self.split_steps(z_BZ), _given, label_B)[1]
        return jnp.sum(glimpses.posterior.log_prob(glimpses.z_TBZ), axis=(0, 2))

    def decode_teacher_forced(
        self, z_BZ: jax.Array, x_BHWC: jax.Array | None, label_B: jax.Array | None = None
    ) -> jax.Array:
        del x_BHWC  # the decoder does not read the image that it makes
        state, _ = self.run_decoder(self.split_steps(z_BZ), _given, label_B)
        return self.canvas_to_params(state.canvas_BHWC)

    def sample_prior(
        self, key_B: jax.Array, temperature: float = 1.0, label_B: jax.Array | None = None
    ) -> jax.Array:
        noise_TBZ = temperature * self._noise(key_B)
        if not self.options.learned_prior:
            return self.join_steps(noise_TBZ)  # (13)
        return self.join_steps(self.run_decoder(noise_TBZ, Normal.reparameterize, label_B)[1][0])

    def frames(
        self, z_BZ: jax.Array, label_B: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """(mean image after each glimpse, (T, B, H, W, C); where each glimpse wrote, (T, B, 3)).
        The second array has the `attention.extent` of each writing window."""
        z_TBZ = self.split_steps(z_BZ)
        _, (_, canvas_TBHWC, window_TB3) = self.run_decoder(z_TBZ, _given, label_B)
        params = self.canvas_to_params(canvas_TBHWC.reshape(-1, *self.canvas_shape))
        mean = self.likelihood.mean(params)
        return mean.reshape(self.options.steps, -1, *self.image_shape), window_TB3

    def run_glimpses(
        self,
        x_BHWC: jax.Array,
        inputs_TBZ: jax.Array,
        choose_z: Callable,
        label_B: jax.Array | None = None,
    ) -> tuple[State, Glimpses]:
        """Runs encoder and decoder over all glimpses at an image. `choose_z(q(z_t | ...),
        input_BZ)` gives z_t: from noise, or the input itself."""
        project_glimpse = self._glimpse_projection(x_BHWC)

        def step(model, state, input_BZ):
            projected_BG = project_glimpse(model, state)
            encoder, h_encoder_BD = model.encoder.step(state.encoder, projected_BG)  # (5)
            posterior = model.latent.posterior(h_encoder_BD)  # (1), (2)
            z_BZ = choose_z(posterior, input_BZ)  # (6)
            prior = model.step_prior(state.decoder[0], z_BZ)
            state = model.decoder_step(state._replace(encoder=encoder), z_BZ, label_B)[0]
            return state, Glimpses(posterior, prior, z_BZ)

        return self._scan(step, x_BHWC.shape[0], inputs_TBZ)

    def run_decoder(
        self, inputs_TBZ: jax.Array, choose_z: Callable, label_B: jax.Array | None = None
    ):
        """Runs the decoder alone. `choose_z(p(z_t | ...), input_BZ)` gives z_t. Returns the final
        state and (z_TBZ, canvas_TBHWC, window_TB3); see `frames`."""

        def step(model, state, input_BZ):
            z_BZ = choose_z(model.step_prior(state.decoder[0], input_BZ), input_BZ)
            state, window_B3 = model.decoder_step(state, z_BZ, label_B)
            return state, (z_BZ, state.canvas_BHWC, window_B3)

        return self._scan(step, inputs_TBZ.shape[1], inputs_TBZ)

    def _scan(self, step, batch: int, inputs_TBZ):
        # The gradient recomputes each glimpse from its state and the stored results of its matrix
        # products. Storing everything takes more time on a CPU, and several times the memory.
        step = nn.remat(step, prevent_cse=False, policy=SAVED_MATMULS)
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, self.start(batch), inputs_TBZ)

    def start(self, batch: int) -> State:
        """The learned state before the first glimpse, for every example of a batch."""

        def broadcast(x):
            return jnp.broadcast_to(x, (batch, *x.shape))

        rows = tuple(broadcast(row) for row in self.initial_state)
        half = len(rows) // 2
        return State(broadcast(self.initial_canvas), rows[:half], rows[half:])

    def _glimpse_projection(self, x_BHWC) -> Callable:
        """A function (model, state) -> projected_BG, the projection of one glimpse for the gates of
        the encoder, (3) and (4)."""

        def from_glimpse(model, state):
            h_BD = state.decoder[0]
            glimpse_BI = model._read(x_BHWC, state.canvas_BHWC, h_BD)
            return model.encoder.project(jnp.concatenate([glimpse_BI, h_BD], axis=-1))

        no_shortcut = self.options.read_size or not isinstance(self.encoder, GatedCell)
        if no_shortcut or self.is_initializing():
            return from_glimpse
        project = whole_image_projection(self.encoder, x_BHWC, self.matmul_dtype)

        def from_whole_image(model, state):
            return project(model._reconstruction(state.canvas_BHWC), state.decoder[0])

        return from_whole_image

    def _read(self, x_BHWC, canvas_BHWC, h_BD):
        error_BHWC = x_BHWC - self._reconstruction(canvas_BHWC)  # (3)
        images, size = (x_BHWC, error_BHWC), self.options.read_size
        if size:  # (27), else (17)
            window = attention.window(self.read_window(h_BD), *self.image_shape[:2], size)
            images = tuple(attention.read_patch(image, window, size) for image in images)
        return jnp.concatenate(images, axis=-1).reshape(x_BHWC.shape[0], -1)

    def step_prior(self, h_BD: jax.Array, like_BZ: jax.Array) -> Normal:
        """p(z_t | z_<t) given the decoder's state h_BD before step t; like_BZ gives its shape."""
        if self.options.learned_prior:
            return Normal.from_raw(self.prior_head(h_BD))
        return Normal(*(jnp.full_like(like_BZ, value) for value in STANDARD_NORMAL))

    def decoder_step(
        self, state: State, z_BZ: jax.Array, label_B: jax.Array | None = None
    ) -> tuple[State, jax.Array]:
        """(7), (8): the state after z_t, and where the canvas was written, window_B3."""
        height, width, channels = self.canvas_shape
        decoder, h_BD = self.decoder(state.decoder, self.condition(z_BZ, label_B))
        batch, size = z_BZ.shape[0], self.options.write_size
        if size:  # (28), (29)
            window = attention.window(self.write_window(h_BD), height, width, size)
            patch = self.written_patch(h_BD).reshape(batch, size, size, channels)
            written = attention.write_patch(patch, window, height, width)
            window_B3 = attention.extent(window, size)
        else:  # (18)
            written = self.written_canvas(h_BD).reshape(batch, height, width, channels)
            window_B3 = jnp.broadcast_to(attention.whole_extent(height, width), (batch, 3))
        canvas_BHWC = state.canvas_BHWC + written
        return state._replace(canvas_BHWC=canvas_BHWC, decoder=decoder), window_B3

    def canvas_to_params(self, canvas_BHWC: jax.Array) -> jax.Array:
        """The likelihood parameters params_BHWP that a canvas stands for."""
        if self.canvas_is_params:
            return canvas_BHWC
        block = self.likelihood.block
        blocks = ScanOrder(self.canvas_shape, block, block)
        params_TBP = self.head(blocks.to_tokens(canvas_BHWC))
        params_BHWP = blocks.in_blocks(block, self.likelihood.parameters).to_image(params_TBP)
        return self.likelihood.add_location(params_BHWP, self._reconstruction(canvas_BHWC))

    def _reconstruction(self, canvas_BHWC):
        """The sigmoid of (3): the image that the first channels of the canvas stand for."""
        return nn.sigmoid(canvas_BHWC[..., : self.image_shape[2]])

    def _noise(self, key_B):
        return self.split_steps(normal_noise(key_B, self.latent_dimensions))

    def split_steps(self, z_BZ: jax.Array) -> jax.Array:
        """(B, T Z) -> (T, B, Z)."""
        return z_BZ.reshape(-1, self.options.steps, self.latent.size).swapaxes(0, 1)

    def join_steps(self, z_TBZ: jax.Array) -> jax.Array:
        """The inverse of `split_steps`."""
        return z_TBZ.swapaxes(0, 1).reshape(-1, self.latent_dimensions)


def _given(normal: Normal, z_BZ: jax.Array) -> jax.Array:
    """A `choose_z` for a latent that is already known."""
    del normal
    return z_BZ
