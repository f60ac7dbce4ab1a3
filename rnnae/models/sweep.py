"""The sweep autoencoder: recurrences along the rows and columns of a grid of tokens.

Its decoder is autoregressive over the tokens in raster order (`sweep_decoder.py`). So its
log-likelihood given the latent is exact, and it also works without a latent. It samples an image
token by token, at about the cost of one pass over all tokens, and it can complete an image whose
first rows are given.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from rnnae.config import CHOICES
from rnnae.errors import ConfigError, check_choice
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.sampling import MODEL_DISTRIBUTION, Sampling
from rnnae.models.sweep_blocks import EncoderBlock, SweepOptions
from rnnae.models.sweep_decoder import SweepDecoder
from rnnae.models.token_chain import parts_of_token
from rnnae.nn.matmul import Dense
from rnnae.scan_order import ScanOrder


class Sweep(Autoencoder):
    """Encoder, latent, decoder and likelihood over a grid of tokens."""

    options: SweepOptions

    Options: ClassVar[type] = SweepOptions
    needs_latent: ClassVar[bool] = False
    capabilities: ClassVar[frozenset[str]] = frozenset({"complete"})

    def setup(self):
        options, dtype = self.options, self.matmul_dtype
        for key in ("condition", "sweeps_above"):
            check_choice(CHOICES[f"model.{key}"], f"config.model.{key}", getattr(options, key))
        self.tokens = ScanOrder(self.image_shape, options.patch, options.patch)
        if not self.likelihood.discrete:
            raise ConfigError(
                "config.model.name=sweep reads its own pixels and needs a likelihood of discrete "
                "pixels: config.likelihood.name=categorical, bernoulli, softmax or logistic_mixture"
            )
        self.params_order = self.tokens.in_blocks(self.likelihood.block, self.likelihood.parameters)
        if self.latent_dimensions:
            self.embed = Dense(options.width, matmul_dtype=dtype)
            self.encoder = [
                EncoderBlock(options, dtype, name=f"encoder_{i}")
                for i in range(options.encoder_blocks)
            ]
            self.readout = Dense(options.token_latent_width, matmul_dtype=dtype)
        self.decoder = SweepDecoder(
            options,
            dtype,
            grid=self.tokens.grid,
            token_parameters=self.params_order.token_size,
            parts=parts_of_token(self.tokens, self.likelihood),
        )

    @property
    def has_mean(self) -> bool:
        return False

    @property
    def token_height(self) -> int:
        """Pixel rows in one row of tokens."""
        return self.options.patch

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        if not self.latent_dimensions:
            return jnp.zeros((x_BHWC.shape[0], 0))
        x_RQBD = self.embed(self.token_grid(x_BHWC))
        for block in self.encoder:
            x_RQBD = block(x_RQBD)
        readout_RQBV = self.readout(x_RQBD)  # V is `token_latent_width`
        return readout_RQBV.transpose(2, 0, 1, 3).reshape(x_BHWC.shape[0], -1)

    def decode_teacher_forced(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        condition_BZ = self.condition(z_BZ, label_B)
        return self.params_image(self.decoder(condition_BZ, self.token_grid(x_BHWC)))

    def decode_free_running(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        return self.sample_tokens(z_BZ, key_B, None, 0, label_B, sampling=sampling)[0]

    def decode_sample(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        return self.complete(z_BZ, key_B, None, 0, label_B, sampling=sampling)

    def complete(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        x_BHWC: jax.Array | None,
        rows: int,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """An image sampled given the latent and the first `rows` rows of tokens of x_BHWC."""
        return self.sample_tokens(z_BZ, key_B, x_BHWC, rows, label_B, sampling=sampling)[1]

    def log_prob_of_rows(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, rows: int, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log p of the first `rows` rows of tokens of x_BHWC given the latent, (B,), nats."""
        height = rows * self.token_height
        params_BHWP = self.decode_teacher_forced(z_BZ, x_BHWC, label_B)
        params_BHWP = params_BHWP[:, : height // self.likelihood.block]
        return self.likelihood.log_prob(params_BHWP, x_BHWC[:, :height])

    def sample_tokens(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        x_BHWC: jax.Array | None,
        rows: int,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> tuple[jax.Array, jax.Array]:
        """(params_BHWP, x_BHWC): an image whose tokens are sampled in raster order, and the
        likelihood parameters that they were sampled from. Its first `rows` rows of tokens are those
        of the given x_BHWC."""
        sampling.check(self.classes, self.likelihood)
        batch = key_B.shape[0]
        if x_BHWC is None:
            x_BHWC = jnp.zeros((batch, *self.image_shape))
        known_RQ = jnp.broadcast_to(
            jnp.arange(self.tokens.grid[0])[:, None] < rows, self.tokens.grid
        )

        chain = self.options.chain
        likelihood = self.likelihood.element if chain else self.likelihood

        def sample_part(p_NP, key_B):
            params_NHWP = p_NP[:, None, None] if chain else self.params_order.token_to_image(p_NP)
            params_BHWP = sampling.combine(params_NHWP, likelihood)
            part_BHWC = likelihood.to_inputs(likelihood.sample(params_BHWP, key_B))
            return sampling.repeat(part_BHWC.reshape(batch, -1))  # all streams read the same

        condition_NZ = self.condition(sampling.repeat(z_BZ), sampling.labels(label_B))
        known_RQNI = self.token_grid(sampling.repeat(x_BHWC))
        p_RQNP, x_RQNI = self.decoder.decode_free_running(
            condition_NZ, key_B, sample_part, known_RQNI, known_RQ
        )
        params_BHWP = sampling.combine(self.params_image(p_RQNP), self.likelihood)
        inputs_NHWK = self.tokens.to_image(x_RQNI.reshape(-1, *x_RQNI.shape[2:]))
        return params_BHWP, self.likelihood.from_inputs(inputs_NHWK)[:batch]

    def token_grid(self, x_BHWC: jax.Array) -> jax.Array:
        """The tokens of an image, x_RQBI, with values in [-1, 1]: what `Likelihood.to_inputs` makes
        of their pixels. The decoder uses 0 for tokens outside the image."""
        x_TBI = self.tokens.to_tokens(self.likelihood.to_inputs(x_BHWC))
        return x_TBI.reshape(*self.tokens.grid, *x_TBI.shape[1:])

    def params_image(self, p_RQBP: jax.Array) -> jax.Array:
        """The likelihood parameters of all tokens as params_BHWP."""
        return self.params_order.to_image(p_RQBP.reshape(-1, *p_RQBP.shape[2:]))
