"""The sweep autoencoder: recurrences along the rows and columns of a grid of tokens.

Its decoder is autoregressive over the tokens in raster order (`sweep_decoder.py`). So its
log-likelihood given the latent is exact, and it also works without a latent. It samples an image
token by token, at about the cost of one pass over all tokens, and it can complete an image of which
any pixels are given.

With several scan orders (`config.model.orders`, see `symmetries.py`), one set of weights is told
the order beside the latent. The model is then the mixture of its orders with equal weights: the
probability of an image is the mean of those in all orders. A training step draws one order for each
image, whose log-likelihood is in expectation a lower bound of the mixture's (Jensen).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from rnnae.config import CHOICES
from rnnae.errors import ConfigError, check_choice
from rnnae.models import symmetries
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.particles import Particles
from rnnae.models.sampling import MODEL_DISTRIBUTION, Sampling
from rnnae.models.sweep_blocks import EncoderBlock, SweepOptions
from rnnae.models.sweep_decoder import SweepDecoder
from rnnae.models.token_chain import Known, parts_of_token
from rnnae.nn.matmul import Dense
from rnnae.scan_order import ScanOrder
from rnnae.types import Terms


class Sweep(Autoencoder):
    """Encoder, latent, decoder and likelihood over a grid of tokens."""

    options: SweepOptions

    Options: ClassVar[type] = SweepOptions
    needs_latent: ClassVar[bool] = False
    capabilities: ClassVar[frozenset[str]] = frozenset({"complete", "augment", "log_prob_maps"})

    def setup(self):
        options, dtype = self.options, self.matmul_dtype
        for key in ("condition", "sweeps_above"):
            check_choice(CHOICES[f"model.{key}"], f"config.model.{key}", getattr(options, key))
        height, width, _ = self.image_shape
        if options.orders not in (1, 2, 4, 8):
            raise ConfigError(f"config.model.orders must be 1, 2, 4 or 8, not {options.orders}")
        if options.orders > 1 and height != width:
            raise ConfigError(
                f"config.model.orders={options.orders} needs square images, because some orders "
                f"transpose them; these are {height}x{width}"
            )
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
    def orders(self) -> int:
        return self.options.orders

    @property
    def token_height(self) -> int:
        """Pixel rows in one row of tokens."""
        return self.options.patch

    def __call__(
        self,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        told_BA: jax.Array | None = None,
    ) -> Terms:
        """With several orders, log p(x | z) is that in one random order of each image. `told_BA`
        are the parameters of transformed images, see `data/augmentation.py`."""
        z_BZ, kl_BTZ, log_ratio_B = self.sample_latent(self.posterior(x_BHWC), key_B)
        order_B = symmetries.random(key_B, self.orders)
        log_prob_B = self._log_likelihood_in_order(z_BZ, x_BHWC, label_B, order_B, told_BA)
        return Terms(log_prob_B, kl_BTZ, log_ratio_B)

    def importance_terms(
        self,
        posterior: jax.Array,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        k: jax.Array,
        label_B: jax.Array | None = None,
    ) -> Terms:
        """log p(x | z) of sample k is that in order k modulo the number of orders. With as many
        samples in each order, their mean estimates p(x) of the mixture without bias."""
        z_BZ, kl_BTZ, log_ratio_B = self.sample_latent(posterior, key_B)
        order_B = jnp.full(x_BHWC.shape[0], k % self.orders)
        log_prob_B = self._log_likelihood_in_order(z_BZ, x_BHWC, label_B, order_B)
        return Terms(log_prob_B, kl_BTZ, log_ratio_B)

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
        """In order 0."""
        return self._decode_in_order(z_BZ, x_BHWC, label_B, None)

    def _decode_in_order(self, z_BZ, x_BHWC, label_B, order_B, told_BA=None):
        """params_BHWP of images x_BHWC that are turned to their order already."""
        condition_BZ = self.condition(z_BZ, label_B, order_B, told_BA)
        return self.params_image(self.decoder(condition_BZ, self.token_grid(x_BHWC)))

    def condition(
        self,
        z_BZ: jax.Array,
        label_B: jax.Array | None,
        order_B: jax.Array | None = None,
        told_BA: jax.Array | None = None,
    ) -> jax.Array:
        """With several orders, the one-hot order follows, order 0 if none is given. Then follow the
        parameters of transformed images, 0 if none are given."""
        parts, batch = [super().condition(z_BZ, label_B)], z_BZ.shape[0]
        if self.orders > 1:
            order_B = jnp.zeros(batch, jnp.int32) if order_B is None else order_B
            parts.append(jax.nn.one_hot(order_B, self.orders))
        if self.augmentation_parameters:
            none_BA = jnp.zeros((batch, self.augmentation_parameters))
            parts.append(none_BA if told_BA is None else told_BA)
        return jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def log_likelihood(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | z) of the mixture of all orders, (B,), nats."""
        if self.orders == 1:
            return super().log_likelihood(z_BZ, x_BHWC, label_B)
        return symmetries.mixture(self.log_likelihood_by_order(z_BZ, x_BHWC, label_B))

    def log_likelihood_by_order(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | z) in each order, (B, orders), nats."""
        examples_N = symmetries.in_each_order(z_BZ, x_BHWC, label_B, self.orders)
        log_p_N = self._log_likelihood_in_order(*examples_N)
        return log_p_N.reshape(self.orders, -1).T

    def log_prob_maps(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log p of each block of pixels given those before it in each order, (B, orders, H, W),
        nats. H and W are those of the grid of blocks, which lies as the image does."""
        examples_N = symmetries.in_each_order(z_BZ, x_BHWC, label_B, self.orders)
        z_NZ, x_NHWC, label_N, order_N = examples_N
        params_NHWP, x_NHWC = self.scan(z_NZ, x_NHWC, label_N, order_N)
        map_NHWC = self.likelihood.log_prob_by_block(params_NHWP, x_NHWC)
        map_NHWC = symmetries.restore(map_NHWC, order_N, self.orders)
        return map_NHWC.sum(axis=-1).reshape(self.orders, -1, *map_NHWC.shape[1:3]).swapaxes(0, 1)

    def _log_likelihood_in_order(self, z_BZ, x_BHWC, label_B, order_B, told_BA=None):
        return self.likelihood.log_prob(*self.scan(z_BZ, x_BHWC, label_B, order_B, told_BA))

    def scan(self, z_BZ, x_BHWC, label_B, order_B, told_BA=None):
        """(params_BHWP, x_BHWC) of images turned to their order."""
        x_BHWC = symmetries.transform(x_BHWC, order_B, self.orders)
        return self._decode_in_order(z_BZ, x_BHWC, label_B, order_B, told_BA), x_BHWC

    def decode_free_running(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        return self.sample_tokens(z_BZ, key_B, label_B, sampling=sampling)[0]

    def decode_sample(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """With several orders, in a random one for each image."""
        return self.sample_tokens(z_BZ, key_B, label_B, sampling=sampling)[1]

    def sample_tokens(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        known: Known | None = None,
        order_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
        particles: Particles | None = None,
        resample_key_N: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, Particles | None]:
        """(params_BHWP, x_BHWC, particles): an image whose tokens are drawn one after another, and
        the likelihood parameters that they were drawn from, which are those of the image as its
        order scans it. Without order_B the orders are random. What is `known` is kept; see
        `known_tokens`, and `SweepDecoder.decode_free_running` for `particles`, which cannot be
        guided."""
        sampling.check(self.classes, self.likelihood)
        if order_B is None:
            order_B = symmetries.random(key_B, self.orders)
        chain = self.options.chain
        likelihood = self.likelihood.element if chain else self.likelihood

        def draw(p_NP, key_B, known):
            params_NHWP = p_NP[:, None, None] if chain else self.params_order.token_to_image(p_NP)
            params_BHWP = sampling.combine(params_NHWP, likelihood)
            if known is None:
                part_BHWC, log_prob_B = likelihood.sample(params_BHWP, key_B), None
            else:
                side = (*(likelihood.block * n for n in params_BHWP.shape[1:3]), -1)
                input_BHWK, given_BHWK = (x_BI.reshape(x_BI.shape[0], *side) for x_BI in known)
                part_BHWC, log_prob_B = likelihood.sample_given(
                    params_BHWP,
                    key_B,
                    likelihood.from_inputs(input_BHWK),
                    given_BHWK[..., : likelihood.channels],
                )
            part_BI = likelihood.to_inputs(part_BHWC).reshape(part_BHWC.shape[0], -1)
            return sampling.repeat(part_BI), log_prob_B  # all streams read the same

        condition_NZ = self.condition(
            sampling.repeat(z_BZ), sampling.labels(label_B), sampling.repeat(order_B)
        )
        p_RQNP, x_RQNI, particles = self.decoder.decode_free_running(
            condition_NZ, key_B, draw, known, particles, resample_key_N
        )
        params_BHWP = sampling.combine(self.params_image(p_RQNP), self.likelihood)
        inputs_NHWK = self.tokens.to_image(x_RQNI.reshape(-1, *x_RQNI.shape[2:]))
        x_BHWC = self.likelihood.from_inputs(inputs_NHWK)[: key_B.shape[0]]
        return params_BHWP, symmetries.restore(x_BHWC, order_B, self.orders), particles

    def known_tokens(self, x_BHWC: jax.Array, given_BHW: jax.Array, order_B: jax.Array) -> Known:
        """The pixels of x_BHWC where the mask is true, as the orders scan them: (R, Q, B, I)."""
        x_BHWC = symmetries.transform(x_BHWC, order_B, self.orders)
        mask_BHWC = symmetries.transform(given_BHW[..., None], order_B, self.orders)
        input_RQBI = self.token_grid(x_BHWC)
        inputs = input_RQBI.shape[-1] // (self.tokens.token_height * self.tokens.token_width)
        mask_TBI = self.tokens.to_tokens(jnp.repeat(mask_BHWC, inputs, axis=-1))
        return Known(input_RQBI, mask_TBI.reshape(input_RQBI.shape))

    def token_grid(self, x_BHWC: jax.Array) -> jax.Array:
        """The tokens of an image, x_RQBI, with values in [-1, 1]: what `Likelihood.to_inputs` makes
        of their pixels. The decoder uses 0 for tokens outside the image."""
        x_TBI = self.tokens.to_tokens(self.likelihood.to_inputs(x_BHWC))
        return x_TBI.reshape(*self.tokens.grid, *x_TBI.shape[1:])

    def params_image(self, p_RQBP: jax.Array) -> jax.Array:
        """The likelihood parameters of all tokens as params_BHWP."""
        return self.params_order.to_image(p_RQBP.reshape(-1, *p_RQBP.shape[2:]))
