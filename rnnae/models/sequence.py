"""The sequence autoencoder: a recurrence over the tokens encodes, another one decodes.

Tokens are rows, columns, patches or pixels (`scan_order.py`), and the cell is any of `nn/cells/`.
The decoder receives the latent and the class through its initial state, at every step, or both.
Optionally it is autoregressive: each step also reads the previous token (Sutskever et al. 2014;
Srivastava et al. 2015). In training that is the true token (teacher forcing, Williams & Zipser
1989); otherwise it is the decoder's own previous output.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.config import CHOICES
from rnnae.errors import ConfigError, check_choice
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.sampling import MODEL_DISTRIBUTION, Sampling
from rnnae.nn.cells import cell_type
from rnnae.nn.matmul import Dense
from rnnae.nn.recurrence import Stack
from rnnae.scan_order import ScanOrder, scan_order


@dataclasses.dataclass(frozen=True)
class SequenceOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    order: str
    patch: int
    cell: str
    width: int  # D
    layers: int
    connections: str
    encoder_direction: str
    decoder_direction: str
    readout: str
    latent_input: str
    autoregressive: bool


def _stack(options: SequenceOptions, direction: str, matmul_dtype: jnp.dtype, **kwargs) -> Stack:
    cell, width, layers = options.cell, options.width, options.layers
    return Stack(cell, width, layers, direction, options.connections, matmul_dtype, **kwargs)


class SequenceEncoder(nn.Module):
    """x_TBI -> features_BD: the final states (`readout` is `last`) or all outputs (`all`)."""

    options: SequenceOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_TBI: jax.Array) -> jax.Array:
        stack = _stack(self.options, self.options.encoder_direction, self.matmul_dtype)
        carries, h_TBD = stack(x_TBI)
        if self.options.readout == "last":
            return jnp.concatenate([carry[0] for carry in carries], axis=-1)
        return h_TBD.transpose(1, 0, 2).reshape(x_TBI.shape[1], -1)


class SequenceDecoder(nn.Module):
    """condition_BZ -> likelihood parameters of every token, p_TBP.

    condition_BZ is the latent with the class beside it; see `Autoencoder.condition`.
    """

    options: SequenceOptions
    order: ScanOrder
    latent_size: int  # Z
    token_parameters: int  # P, likelihood parameters of one token
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        options, dtype = self.options, self.matmul_dtype
        self.stack = _stack(options, options.decoder_direction, dtype)
        # A learned embedding tells every step its position, and every step has its own linear
        # projection of the latent. With one projection shared by all steps the model learns
        # several times more slowly (MNIST, validation MSE after one epoch: 0.040 instead of 0.017).
        # Explicit names of submodules and parameters are the names in saved checkpoints.
        self.position_embedding = self.param(
            "position", nn.initializers.normal(1.0), (self.order.steps, self.latent_size)
        )
        if options.latent_input != "every_step":
            states = self.stack.cells * cell_type(options.cell).state_size
            self.initial_state = Dense(states * options.width, matmul_dtype=dtype, name="initial")
        if options.latent_input != "initial_state":
            self.step_inputs = Dense(
                self.order.steps * self.latent_size, matmul_dtype=dtype, name="every"
            )
        self.head = Dense(self.token_parameters, matmul_dtype=dtype)

    def __call__(self, condition_BZ: jax.Array, x_TBI: jax.Array | None = None) -> jax.Array:
        """p_TBP of all steps at once. An autoregressive decoder reads the true token x_(t-1) at
        step t."""
        inputs_TBI = self._inputs(condition_BZ)
        if self.options.autoregressive:
            shifted_TBI = jnp.concatenate([jnp.zeros_like(x_TBI[:1]), x_TBI[:-1]])
            inputs_TBI = jnp.concatenate([inputs_TBI, shifted_TBI], axis=-1)
        _, h_TBD = self.stack(inputs_TBI, self._carries(condition_BZ))
        return self.head(h_TBD)

    def decode_free_running(
        self, condition_BZ: jax.Array, key_B: jax.Array, next_token: Callable
    ) -> tuple[jax.Array, jax.Array]:
        """(p_TBP, x_TBI), one step after the other, for an autoregressive decoder.
        `next_token(p_BP, key_B)` gives the token x_BI that the following step reads. The keys are
        passed on to it, so they may be fewer than the examples."""

        def step(decoder, carry, inputs):
            carries, previous_BI = carry
            input_BI, key_B = inputs
            carries, h_BD = decoder.stack.step(
                carries, jnp.concatenate([input_BI, previous_BI], axis=-1)
            )
            p_BP = decoder.head(h_BD)
            token_BI = next_token(p_BP, key_B)
            return (carries, token_BI), (p_BP, token_BI)

        first = jnp.zeros((condition_BZ.shape[0], self.order.token_size))
        key_TB = jax.vmap(lambda key: jax.random.split(key, self.order.steps), out_axes=1)(key_B)
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        start = (self._carries(condition_BZ), first)
        return scan(self, start, (self._inputs(condition_BZ), key_TB))[1]

    def _inputs(self, condition_BZ):
        position_T1Z = self.position_embedding[:, None, :]
        if self.options.latent_input == "initial_state":  # the inputs are the same for all images
            if not self.options.autoregressive:
                return position_T1Z
            shape = (self.order.steps, condition_BZ.shape[0], self.latent_size)
            return jnp.broadcast_to(position_T1Z, shape)
        x = self.step_inputs(condition_BZ).reshape(condition_BZ.shape[0], self.order.steps, -1)
        return position_T1Z + x.transpose(1, 0, 2)

    def _carries(self, condition_BZ):
        if self.options.latent_input == "every_step":
            return self.stack.zero_carries(condition_BZ.shape[0])
        size = cell_type(self.options.cell).state_size
        parts = jnp.split(self.initial_state(condition_BZ), self.stack.cells * size, axis=-1)
        return tuple(tuple(parts[i : i + size]) for i in range(0, len(parts), size))


class Sequence(Autoencoder):
    """Encoder, latent, decoder and likelihood over a sequence of tokens."""

    options: SequenceOptions

    Options: ClassVar[type] = SequenceOptions

    def setup(self):
        options = self.options
        for key in ("encoder_direction", "decoder_direction", "readout", "latent_input"):
            check_choice(CHOICES[f"model.{key}"], f"config.model.{key}", getattr(options, key))
        if options.autoregressive and options.decoder_direction != "forward":
            raise ConfigError(
                "config.model.autoregressive needs config.model.decoder_direction='forward': "
                f"a {options.decoder_direction!r} decoder would read tokens that it has not "
                "written yet"
            )
        self.tokens = scan_order(options.order, self.image_shape, options.patch)
        self.params_order = self.tokens.in_blocks(self.likelihood.block, self.likelihood.parameters)
        self.encoder = SequenceEncoder(options, self.matmul_dtype)
        self.decoder = SequenceDecoder(
            options,
            self.tokens,
            self.latent.size,
            self.params_order.token_size,
            self.matmul_dtype,
        )

    @property
    def has_mean(self) -> bool:
        """False for an autoregressive decoder with a discrete likelihood, which reads samples."""
        return not (self.options.autoregressive and self.likelihood.discrete)

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        return self.encoder(self.tokens.to_tokens(x_BHWC))

    def decode_teacher_forced(
        self, z_BZ: jax.Array, x_BHWC: jax.Array | None, label_B: jax.Array | None = None
    ) -> jax.Array:
        x_TBI = None if x_BHWC is None else self.tokens.to_tokens(x_BHWC)
        return self.params_order.to_image(self.decoder(self.condition(z_BZ, label_B), x_TBI))

    def decode_free_running(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """An autoregressive decoder reads samples of a discrete likelihood, and the means of a
        density."""
        if not self.options.autoregressive:
            return super().decode_free_running(z_BZ, key_B, label_B, sampling=sampling)
        next_token = self.sampled_token if self.likelihood.discrete else self.mean_token
        p_TNP, _ = self._run_decoder(z_BZ, key_B, label_B, sampling, next_token)
        return sampling.combine(self.params_order.to_image(p_TNP), self.likelihood)

    def decode_mean(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """As `Autoencoder.decode_mean`. For an autoregressive decoder with a density, it is the
        image in which every token is the mean of its density given the tokens before it. That is
        not the mean over all images that the decoder could sample."""
        return super().decode_mean(z_BZ, key_B, label_B, sampling=sampling)

    def decode_sample(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """An image x_BHWC sampled from p(x | z), token by token if the decoder is
        autoregressive."""
        if not self.options.autoregressive:
            return super().decode_sample(z_BZ, key_B, label_B, sampling=sampling)
        _, x_TNI = self._run_decoder(z_BZ, key_B, label_B, sampling, self.sampled_token)
        return self.tokens.to_image(x_TNI)[: z_BZ.shape[0]]

    def _run_decoder(self, z_BZ, key_B, label_B, sampling: Sampling, choose_token: Callable):
        """(p_TNP, x_TNI) of all streams of `sampling`, token by token. Every stream reads the same
        tokens x_BI = choose_token(p_BP, key_B), which have the combined parameters."""
        sampling.check(self.classes, self.likelihood)
        condition_NZ = self.condition(sampling.repeat(z_BZ), sampling.labels(label_B))

        def next_token(p_NP, key_B):
            return sampling.repeat(choose_token(p_NP, key_B, sampling))

        return self.decoder.decode_free_running(condition_NZ, key_B, next_token)

    def sampled_token(
        self, p_NP: jax.Array, key_B: jax.Array, sampling: Sampling = MODEL_DISTRIBUTION
    ) -> jax.Array:
        """A token x_BI sampled from the likelihood with the parameters p_NP of all streams."""
        params_NHWP = self.params_order.token_to_image(p_NP)
        params_BHWP = sampling.combine(params_NHWP, self.likelihood)
        return self.likelihood.sample(params_BHWP, key_B).reshape(key_B.shape[0], -1)

    def mean_token(
        self, p_BP: jax.Array, key_B: jax.Array, sampling: Sampling = MODEL_DISTRIBUTION
    ) -> jax.Array:
        """The mean token x_BI of the likelihood with parameters p_BP. A density has no logits, so
        there is one stream."""
        del key_B, sampling
        params_BHWP = self.params_order.token_to_image(p_BP)
        return self.likelihood.mean(params_BHWP).reshape(p_BP.shape[0], -1)
