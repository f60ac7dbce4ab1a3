"""The interface of all models, implemented for models that sample their whole latent in one step.

A model is an `nn.Module` over images x_BHWC in [0, 1] of `image_shape` (H, W, C). Randomness enters
as one key for each example. So a result does not depend on the rest of the batch or on the number
of devices.

With `classes` > 0 the decoder is told the class of each example, label_B, int32 from 0 to
classes - 1. The label -1 stands for an unknown class, and None for a batch of them. So one model
gives p(x | y) and p(x). With `classes` = 0, labels are ignored.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae import rng
from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.models.sampling import MODEL_DISTRIBUTION, Sampling
from rnnae.types import Terms


class Autoencoder(nn.Module):
    """A subclass implements `encode_features` and `decode_teacher_forced`. An autoregressive one
    also overrides `decode_free_running` and `decode_sample`, and a model that samples its latent in
    several steps the methods of the latent.

    A subclass has a field `options` of its class variable `Options`, a frozen dataclass whose
    fields are the keys of `config.model`.
    """

    image_shape: tuple[int, int, int]
    likelihood: Likelihood
    latent: Latent
    options: Any
    classes: int = dataclasses.field(default=0, kw_only=True)
    augmentation_parameters: int = dataclasses.field(default=0, kw_only=True)
    matmul_dtype: jnp.dtype = dataclasses.field(default=jnp.float32, kw_only=True)

    Options: ClassVar[type]
    needs_latent: ClassVar[bool] = True  # False: it can model images without a latent
    generative: ClassVar[bool] = True  # False: a classifier, which makes no images
    # What the model can do beyond this interface:
    #   "complete": the functions of `completion.py` take it; it has `token_height`, the number of
    #       pixel rows in one row of tokens.
    #   "augment": `__call__` takes the parameters told_BA of transformed images, see
    #       `data/augmentation.py`.
    #   "frames": it has `frames(z_BZ, label_B)`.
    #   "log_prob_maps": it has `log_prob_maps(z_BZ, x_BHWC, label_B)`.
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        """The encoder up to its latent: features_BD."""
        raise NotImplementedError

    def decode_teacher_forced(
        self, z_BZ: jax.Array, x_BHWC: jax.Array | None, label_B: jax.Array | None = None
    ) -> jax.Array:
        """Likelihood parameters params_BHWP of x_BHWC given the latent, as in training. An
        autoregressive decoder reads the true pixels of x_BHWC as its previous outputs. Any other
        decoder does not read x_BHWC, which may then be None."""
        raise NotImplementedError

    def decode_free_running(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """Likelihood parameters params_BHWP given the latent alone. An autoregressive decoder reads
        its own previous outputs, which `key_B` makes random if they are sampled."""
        del key_B
        sampling.check(self.classes, self.likelihood)
        params_NHWP = self.decode_teacher_forced(
            sampling.repeat(z_BZ), None, sampling.labels(label_B)
        )
        return sampling.combine(params_NHWP, self.likelihood)

    def condition(self, z_BZ: jax.Array, label_B: jax.Array | None) -> jax.Array:
        """What the decoder reads: the latent and, beside it, the one-hot class, (B, Z + classes).
        All `classes` numbers are zero if the class is unknown."""
        if not self.classes:
            return z_BZ
        if label_B is None:
            label_B = jnp.full(z_BZ.shape[0], -1)
        return jnp.concatenate([z_BZ, jax.nn.one_hot(label_B, self.classes)], axis=-1)

    @property
    def latent_dimensions(self) -> int:
        """Z, the number of dimensions of the whole latent z_BZ."""
        return self.latent.size

    @property
    def orders(self) -> int:
        """Scan orders whose mixture is the model; see `Sweep`."""
        return 1

    @property
    def has_prior(self) -> bool:
        """Whether `sample_prior` works. A latent without dimensions counts as having a prior."""
        return self.latent.variational or not self.latent_dimensions

    @property
    def has_mean(self) -> bool:
        """Whether `decode_mean` works. An autoregressive decoder that reads its own samples has no
        closed form for the mean of p(x | z)."""
        return True

    def __call__(
        self, x_BHWC: jax.Array, key_B: jax.Array, label_B: jax.Array | None = None
    ) -> Terms:
        """The terms of the objective in training, at one sample of each example's latent."""
        return self.terms(self.posterior(x_BHWC), x_BHWC, key_B, label_B)

    def posterior(self, x_BHWC: jax.Array) -> Any:
        """The part of q(z | x) that does not depend on the sample of z; arrays (B, ...)."""
        return self.latent.posterior(self.encode_features(x_BHWC))

    def terms(
        self,
        posterior: Any,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
    ) -> Terms:
        """The terms of the objective, given `posterior(x_BHWC)`. With it, many samples of z for the
        same images need the encoder once. With a label, they are those of log p(x | y)."""
        z_BZ, kl_BTZ, log_ratio_B = self.sample_latent(posterior, key_B)
        return Terms(self.log_likelihood(z_BZ, x_BHWC, label_B), kl_BTZ, log_ratio_B)

    def importance_terms(
        self,
        posterior: Any,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        k: jax.Array,
        label_B: jax.Array | None = None,
    ) -> Terms:
        """`terms` as importance sample k; see `Sweep`."""
        del k
        return self.terms(posterior, x_BHWC, key_B, label_B)

    def sample_latent(
        self, posterior: Any, key_B: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(z_BZ, kl_BTZ, log_ratio_B): a sample of q(z | x) and its terms of the objective."""
        z_BZ = self.latent.sample_posterior(posterior, key_B)
        return z_BZ, *self.latent.kl_and_log_ratio(posterior, z_BZ, self.encode_features)

    def log_likelihood(
        self, z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | z), (B,), nats."""
        params_BHWP = self.decode_teacher_forced(z_BZ, x_BHWC, label_B)
        return self.likelihood.log_prob(params_BHWP, x_BHWC)

    # Only DRAW's latent depends on the label: its encoder and its learned prior read the state of
    # its decoder. In the other models the latent is that of the image alone.

    def encode(self, x_BHWC: jax.Array, label_B: jax.Array | None = None) -> jax.Array:
        """z_BZ without randomness: the mean of the posterior."""
        del label_B
        return self.latent.mean(self.posterior(x_BHWC))

    def sample_posterior(
        self, posterior: Any, key_B: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """A sample z_BZ of q(z | x)."""
        del label_B
        return self.latent.sample_posterior(posterior, key_B)

    def log_posterior(
        self, posterior: Any, z_BZ: jax.Array, label_B: jax.Array | None = None
    ) -> jax.Array:
        """log q(z | x) of given latents, (B,), nats."""
        del label_B
        return self.latent.log_posterior(posterior, z_BZ)

    def sample_prior(
        self, key_B: jax.Array, temperature: float = 1.0, label_B: jax.Array | None = None
    ) -> jax.Array:
        """A sample z_BZ of p(z); see `has_prior`. `temperature` multiplies the standard deviation
        of its noise (Vahdat & Kautz 2020)."""
        del label_B
        return self.latent.sample_prior(key_B, self.encode_features, temperature)

    def decode_mean(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """The mean image x_BHWC of p(x | z); see `has_mean`. `key_B` is not used by a model that
        has a mean; it is there so that this method and `decode_sample` are called alike. The
        temperature changes the latents only, in `sample_prior`."""
        if not self.has_mean:
            raise NotImplementedError(f"{type(self).__name__} has no closed form for its mean")
        sampling = sampling._replace(temperature=1.0)
        return self.likelihood.mean(
            self.decode_free_running(z_BZ, key_B, label_B, sampling=sampling)
        )

    def decode_sample(
        self,
        z_BZ: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> jax.Array:
        """An image x_BHWC sampled from p(x | z)."""
        params_BHWP = self.decode_free_running(z_BZ, key_B, label_B, sampling=sampling)
        return self.likelihood.sample(params_BHWP, key_B)

    def reconstruct_random(
        self,
        x_BHWC: jax.Array,
        key_B: jax.Array,
        label_B: jax.Array | None = None,
        *,
        take_mean: bool,
    ) -> jax.Array:
        """An image x_BHWC drawn from p(x | z) at a sample z of q(z | x), or its mean: a step of
        pseudo-Gibbs sampling. Densities add no noise, which is none of the images."""
        latent_key_B, pixel_key_B = rng.split(key_B)
        z_BZ = self.sample_posterior(self.posterior(x_BHWC), latent_key_B, label_B)
        take_mean = self.has_mean and (take_mean or not self.likelihood.discrete)
        decode = self.decode_mean if take_mean else self.decode_sample
        return decode(z_BZ, pixel_key_B, label_B)
