"""Priors, and codes that have none."""

import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae import rng
from rnnae.latents.latent import LOG_2PI, STANDARD, Latent, Normal, normals
from rnnae.nn.cells import dense_2d
from rnnae.nn.recurrence import Stack


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

    def weigh(self, q, z_BZ, read):
        return q.kl(STANDARD)[:, None, :], jnp.sum(STANDARD.log_prob(z_BZ), axis=-1)

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

    def weigh(self, q, z_BZ, read):
        log_weights_M, parts_MZ = self.parts(read)
        # sum over Z of log N(z_B; part_M), its square multiplied out into matrix products
        precision_MZ = jnp.exp(-2 * parts_MZ.log_scale)
        constant_M = jnp.sum(
            parts_MZ.mean**2 * precision_MZ + 2 * parts_MZ.log_scale + LOG_2PI, axis=-1
        )
        # which cancel each other: of operands that an accelerator rounds they would be off by nats.
        dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        squares_BM = dot(z_BZ**2, precision_MZ.T)
        squares_BM -= 2 * dot(z_BZ, (parts_MZ.mean * precision_MZ).T)
        log_parts_BM = -0.5 * (squares_BM + constant_M[None])
        return None, jax.nn.logsumexp(log_parts_BM + log_weights_M[None], axis=-1)

    def prior(self, key_B, read):
        log_weights_M, parts_MZ = self.parts(read)
        which_key, noise_key = rng.split(key_B)
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
        self.check_chunk()
        self.stack = Stack("lstm", self.width)
        # The prior starts as the standard normal.
        self.prior_head = nn.Dense(2 * self.chunk, kernel_init=nn.initializers.zeros)

    def weigh(self, q, z_BZ, read):
        z_TBZ = self.chunks(z_BZ)
        shifted_TBZ = jnp.concatenate([jnp.zeros_like(z_TBZ[:1]), z_TBZ[:-1]])
        _, h_TBD = self.stack(shifted_TBZ)
        prior = Normal.of(dense_2d(self.prior_head, h_TBD))
        kl_TBZ = Normal(*map(self.chunks, q)).kl(prior)
        return kl_TBZ.swapaxes(0, 1), jnp.sum(prior.log_prob(z_TBZ), axis=(0, 2))

    def prior(self, key_B, read):
        def step(latent, carry, noise_BZ):
            carries, previous_BZ = carry
            carries, h_BD = latent.stack.step(carries, previous_BZ)
            z_BZ = Normal.of(latent.prior_head(h_BD)).at(noise_BZ)
            return (carries, z_BZ), z_BZ

        return self.one_by_one(step, self.stack, self.chunks(normals(key_B, self.size)))
