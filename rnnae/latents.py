"""Latents: from what the encoder read to a code z_BZ, its prior, and its price.

A latent is an `nn.Module` with

    posterior(features_BD) -> what q(z | x) is, arrays with a leading batch
    draw(posterior, key_B) -> z_BZ
    price(posterior, z_BZ, read) -> (kl_BTZ, log_ratio_B)
    log_posterior(posterior, z_BZ) -> log q(z | x), (B,)
    prior(key_B, read) -> z_BZ

`read` is the model's encoder, x_BHWC -> features_BD. `kl_BTZ` is unreduced, by step and by
dimension; one where the prior does not factorise. To add one: subclass `Latent`, add its line to
`LATENTS`.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae import keys
from rnnae.cells import dense_2d
from rnnae.errors import ConfigError, choose
from rnnae.recurrence import Stack

_LOG_2PI = float(np.log(2 * np.pi))


class Normal(NamedTuple):
    """A diagonal Gaussian; `log_scale` is the logarithm of the standard deviation."""

    mean: jax.Array
    log_scale: jax.Array

    @classmethod
    def of(cls, raw: jax.Array) -> "Normal":
        """From the (..., 2 Z) outputs of a layer; scales stay within e^-7 and e^7."""
        mean, log_scale = jnp.split(raw, 2, axis=-1)
        return cls(mean, jnp.clip(log_scale, -7.0, 7.0))

    def at(self, noise: jax.Array) -> jax.Array:
        """mean + scale * noise (Kingma & Welling 2014, section 2.4)."""
        return self.mean + jnp.exp(self.log_scale) * noise

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log N(z) of each dimension, nats."""
        white = (z - self.mean) * jnp.exp(-self.log_scale)
        return -0.5 * (white**2 + _LOG_2PI) - self.log_scale

    def kl(self, prior: "Normal") -> jax.Array:
        """KL(self || prior) of each dimension, nats."""
        ratio = self.log_scale - prior.log_scale
        white = (self.mean - prior.mean) * jnp.exp(-prior.log_scale)
        return 0.5 * (jnp.exp(2 * ratio) + white**2 - 1) - ratio


STANDARD = Normal(0.0, 0.0)


def normals(key_B: jax.Array, *shape: int) -> jax.Array:
    """Standard normal noise (B, *shape), example i by key i alone."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(key_B)


class Latent(nn.Module):
    """Interface, with the diagonal Gaussian posterior that all but `Deterministic` have."""

    size: int  # Z
    components: int  # Gaussians of a mixture prior
    chunk: int  # dimensions that an autoregressive prior writes at a time
    width: int  # D of an autoregressive prior's LSTM

    variational: ClassVar[bool] = True

    def setup(self):
        self.head = nn.Dense(2 * self.size)
        self.setup_prior()

    def setup_prior(self) -> None:
        """The parameters of the prior; none here."""

    def posterior(self, features_BD: jax.Array) -> Normal:
        return Normal.of(self.head(features_BD))

    def mean(self, posterior: Normal) -> jax.Array:
        return posterior.mean

    def draw(self, posterior: Normal, key_B: jax.Array) -> jax.Array:
        return posterior.at(normals(key_B, self.size))

    def log_posterior(self, posterior: Normal, z_BZ: jax.Array) -> jax.Array:
        return jnp.sum(posterior.log_prob(z_BZ), axis=-1)

    def price(self, posterior: Normal, z_BZ: jax.Array, read: Callable):
        raise NotImplementedError

    def prior(self, key_B: jax.Array, read: Callable) -> jax.Array:
        raise NotImplementedError


class Deterministic(Latent):
    """z = W features + b, KL 0. It has no prior: sampling fits one afterwards (`mixture.py`)."""

    variational: ClassVar[bool] = False

    def setup(self):
        self.code = nn.Dense(self.size)

    def posterior(self, features_BD):
        return Normal(self.code(features_BD), jnp.full((), -jnp.inf))

    def draw(self, posterior, key_B):
        return posterior.mean

    def price(self, posterior, z_BZ, read):
        return jnp.zeros((*z_BZ.shape[:1], 1, 0)), jnp.zeros(z_BZ.shape[0])


class NoCode(Deterministic):
    """A code of no numbers, for a decoder that says everything through its own output: an
    autoregressive model, whose log-likelihood is exact."""

    def setup(self):
        pass

    def posterior(self, features_BD):
        return Normal(jnp.zeros((features_BD.shape[0], 0)), jnp.full((), -jnp.inf))

    def prior(self, key_B, read):
        return jnp.zeros((key_B.shape[0], 0))


class StandardNormal(Latent):
    """p(z) = N(0, 1), the KL in closed form (Kingma & Welling 2014, appendix B)."""

    def price(self, posterior, z_BZ, read):
        log_prior_B = jnp.sum(STANDARD.log_prob(z_BZ), axis=-1)
        log_ratio_B = log_prior_B - self.log_posterior(posterior, z_BZ)
        return posterior.kl(STANDARD)[:, None, :], log_ratio_B

    def prior(self, key_B, read):
        return normals(key_B, self.size)


class Mixture(Latent):
    """p(z) = sum over M of w_M N(z; mean_M, scale_M), all learned; the KL by the draw of z."""

    def setup_prior(self):
        shape = (self.components, self.size)
        self.logits = self.param("logits", nn.initializers.zeros, shape[:1])
        self.means = self.param("means", nn.initializers.normal(1.0), shape)
        self.log_scales = self.param("log_scales", nn.initializers.zeros, shape)

    def parts(self, read: Callable) -> tuple[jax.Array, Normal]:
        """(log weights_M, the components as Normal of (M, Z))."""
        del read
        scales_MZ = jnp.clip(self.log_scales, -7.0, 7.0)
        return jax.nn.log_softmax(self.logits), Normal(self.means, scales_MZ)

    def price(self, posterior, z_BZ, read):
        log_weights_M, parts_MZ = self.parts(read)
        # sum over Z of log N(z_B; part_M), its square multiplied out into matrix products
        precision_MZ = jnp.exp(-2 * parts_MZ.log_scale)
        constant_M = jnp.sum(
            parts_MZ.mean**2 * precision_MZ + 2 * parts_MZ.log_scale + _LOG_2PI, axis=-1
        )
        squares_BM = z_BZ**2 @ precision_MZ.T - 2 * z_BZ @ (parts_MZ.mean * precision_MZ).T
        log_parts_BM = -0.5 * (squares_BM + constant_M[None])
        log_prior_B = jax.nn.logsumexp(log_parts_BM + log_weights_M[None], axis=-1)
        log_ratio_B = log_prior_B - self.log_posterior(posterior, z_BZ)
        return -log_ratio_B[:, None, None], log_ratio_B

    def prior(self, key_B, read):
        log_weights_M, parts_MZ = self.parts(read)
        which_key, noise_key = keys.split(key_B)
        which_B = jax.vmap(lambda key: jax.random.categorical(key, log_weights_M))(which_key)
        chosen = Normal(parts_MZ.mean[which_B], parts_MZ.log_scale[which_B])
        return chosen.at(normals(noise_key, self.size))


class VampPrior(Mixture):
    """p(z) = mean over M of q(z | u_M), learned images u (Tomczak & Welling 2018, equation 9)."""

    image_shape: tuple[int, int, int]

    def setup_prior(self):
        # Around black: sigmoid(-3 +- 1), most of what a digit's image is made of.
        init = lambda key, shape: jax.random.normal(key, shape) - 3.0  # noqa: E731
        self.pseudo_inputs = self.param("pseudo_inputs", init, (self.components, *self.image_shape))

    def parts(self, read):
        weights_M = jnp.full(self.components, -np.log(self.components))
        return weights_M, self.posterior(read(nn.sigmoid(self.pseudo_inputs)))


class Autoregressive(Latent):
    """p(z) = product over chunks of N(z_t | z_<t) by an LSTM (as the recurrent prior of VLAE's
    and Z-forcing's kin); each chunk's KL in closed form given the chunks before it."""

    def setup_prior(self):
        if self.size % self.chunk:
            raise ConfigError(
                f"config.latent.chunk={self.chunk} does not divide config.latent.size={self.size}"
            )
        self.stack = Stack("lstm", self.width)
        # The prior starts as the standard normal.
        self.prior_head = nn.Dense(2 * self.chunk, kernel_init=nn.initializers.zeros)

    def price(self, posterior, z_BZ, read):
        z_TBZ = self._chunks(z_BZ)
        shifted_TBZ = jnp.concatenate([jnp.zeros_like(z_TBZ[:1]), z_TBZ[:-1]])
        _, h_TBD = self.stack(shifted_TBZ)
        prior = Normal.of(dense_2d(self.prior_head, h_TBD))
        posterior_TBZ = Normal(*map(self._chunks, posterior))
        kl_TBZ = posterior_TBZ.kl(prior)
        log_prior_B = jnp.sum(prior.log_prob(z_TBZ), axis=(0, 2))
        return kl_TBZ.swapaxes(0, 1), log_prior_B - self.log_posterior(posterior, z_BZ)

    def prior(self, key_B, read):
        def step(latent, carry, noise_BZ):
            carries, previous_BZ = carry
            carries, h_BD = latent.stack.step(carries, previous_BZ)
            z_BZ = Normal.of(latent.prior_head(h_BD)).at(noise_BZ)
            return (carries, z_BZ), z_BZ

        noise_TBZ = self._chunks(normals(key_B, self.size))
        start = (self.stack.zero_carries(noise_TBZ.shape[1]), jnp.zeros_like(noise_TBZ[0]))
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        _, z_TBZ = scan(self, start, noise_TBZ)
        return z_TBZ.swapaxes(0, 1).reshape(-1, self.size)

    def _chunks(self, z_BZ):
        """(B, Z) -> (chunks, B, Z / chunks)."""
        return z_BZ.reshape(z_BZ.shape[0], -1, self.chunk).swapaxes(0, 1)


LATENTS: dict[str, type[Latent]] = {
    "none": NoCode,
    "deterministic": Deterministic,
    "gaussian": StandardNormal,
    "mixture": Mixture,
    "vamp": VampPrior,
    "autoregressive": Autoregressive,
}


def latent(name: str, image_shape: tuple[int, int, int], **options) -> Latent:
    """The latent called `name`; `options` are the other keys of `config.latent`.

    Raises ConfigError with the choices if there is none of that name.
    """
    kind = choose(LATENTS, "config.latent.name", name)
    if kind is NoCode:
        options["size"] = 0
    return kind(**options, **({"image_shape": tuple(image_shape)} if kind is VampPrior else {}))
