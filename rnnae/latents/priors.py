"""Priors of the latent, and latents that have none."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae import rng
from rnnae.latents.latent import LOG_2PI, STANDARD_NORMAL, Latent, Normal, normal_noise
from rnnae.nn.matmul import dot
from rnnae.nn.recurrence import Stack


class Deterministic(Latent):
    """z = W features + b with KL 0. It has no prior: a mixture of Gaussians is fitted to the
    latents of the training images after training, and new latents are drawn from that."""

    variational: ClassVar[bool] = False

    def setup(self):
        # The name is that of the parameters in saved checkpoints.
        self.linear = self.dense(self.size, name="code")

    def posterior(self, features_BD):
        return Normal(self.linear(features_BD), jnp.full((), -jnp.inf))

    def sample_posterior(self, posterior, key_B):
        return posterior.mean

    def kl_and_log_ratio(self, posterior, z_BZ, encode_features):
        return jnp.zeros((*z_BZ.shape[:1], 1, 0)), jnp.zeros(z_BZ.shape[0])


class NoLatent(Deterministic):
    """A latent with no dimensions, for an autoregressive decoder that models the images by itself.
    Its log-likelihood is exact."""

    options: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        pass

    def posterior(self, features_BD):
        return Normal(jnp.zeros((features_BD.shape[0], 0)), jnp.full((), -jnp.inf))

    def sample_prior(self, key_B, encode_features, temperature=1.0):
        return jnp.zeros((key_B.shape[0], 0))


class StandardNormalPrior(Latent):
    """p(z) = N(0, 1), with the KL in closed form (Kingma & Welling 2014, appendix B)."""

    def kl_and_log_prior(self, q, z_BZ, encode_features):
        log_prior_B = jnp.sum(STANDARD_NORMAL.log_prob(z_BZ), axis=-1)
        return q.kl(STANDARD_NORMAL)[:, None, :], log_prior_B

    def sample_prior(self, key_B, encode_features, temperature=1.0):
        return temperature * normal_noise(key_B, self.size)


class MixturePrior(Latent):
    """p(z) = sum over m of w_m N(z; mean_m, scale_m) with learned weights, means and scales. The KL
    is estimated from the sample of z."""

    options: ClassVar[tuple[str, ...]] = ("size", "components")

    def setup_prior(self):
        shape = (self.components, self.size)
        self.logits = self.param("logits", nn.initializers.zeros, shape[:1])
        self.means = self.param("means", nn.initializers.normal(1.0), shape)
        self.log_scales = self.param("log_scales", nn.initializers.zeros, shape)

    def weights_and_components(self, encode_features: Callable) -> tuple[jax.Array, Normal]:
        """(log weights_M, the components as a Normal of (M, Z) arrays)."""
        del encode_features
        log_scales_MZ = jnp.clip(self.log_scales, -7.0, 7.0)
        return jax.nn.log_softmax(self.logits), Normal(self.means, log_scales_MZ)

    def kl_and_log_prior(self, q, z_BZ, encode_features):
        log_weights_M, component_MZ = self.weights_and_components(encode_features)
        # The sum over Z of log N(z_B; component_M). The square is multiplied out, which gives
        # matrix products.
        precision_MZ = jnp.exp(-2 * component_MZ.log_scale)
        constant_M = jnp.sum(
            component_MZ.mean**2 * precision_MZ + 2 * component_MZ.log_scale + LOG_2PI, axis=-1
        )
        # The products nearly cancel. With operands rounded to bfloat16 the result would be wrong by
        # several nats, so these products are always in float32.
        quadratic_BM = dot(z_BZ**2, precision_MZ.T, jnp.float32)
        quadratic_BM -= 2 * dot(z_BZ, (component_MZ.mean * precision_MZ).T, jnp.float32)
        log_component_BM = -0.5 * (quadratic_BM + constant_M[None])
        return None, jax.nn.logsumexp(log_component_BM + log_weights_M[None], axis=-1)

    def sample_prior(self, key_B, encode_features, temperature=1.0):
        log_weights_M, component_MZ = self.weights_and_components(encode_features)
        index_key, noise_key = rng.split(key_B)
        index_B = jax.vmap(lambda key: jax.random.categorical(key, log_weights_M))(index_key)
        chosen = Normal(component_MZ.mean[index_B], component_MZ.log_scale[index_B])
        return chosen.reparameterize(temperature * normal_noise(noise_key, self.size))


class VampPrior(MixturePrior):
    """p(z) = mean over M of q(z | u_M) with learned images u (Tomczak & Welling 2018, equation
    9)."""

    image_shape: tuple[int, int, int] = dataclasses.field(kw_only=True)

    def setup_prior(self):
        # The images start nearly black, sigmoid(-3 +- 1), as most of a digit's image is.
        init = lambda key, shape: jax.random.normal(key, shape) - 3.0  # noqa: E731
        self.pseudo_inputs = self.param("pseudo_inputs", init, (self.components, *self.image_shape))

    def weights_and_components(self, encode_features):
        log_weights_M = jnp.full(self.components, -np.log(self.components))
        return log_weights_M, self.posterior(encode_features(nn.sigmoid(self.pseudo_inputs)))


class AutoregressivePrior(Latent):
    """p(z) = product over chunks of N(z_t | z_<t) by an LSTM (similar to the recurrent prior of
    Z-forcing, Goyal et al. 2017). The KL of each chunk given the chunks before it is in closed
    form."""

    options: ClassVar[tuple[str, ...]] = ("size", "chunk", "width")

    def setup_prior(self):
        self.check_chunk()
        self.stack = Stack("lstm", self.width, matmul_dtype=self.matmul_dtype)
        # A kernel of zeros: the prior starts as the standard normal.
        self.prior_head = self.dense(2 * self.chunk, kernel_init=nn.initializers.zeros)

    def kl_and_log_prior(self, q, z_BZ, encode_features):
        z_TBZ = self.split_chunks(z_BZ)
        shifted_TBZ = jnp.concatenate([jnp.zeros_like(z_TBZ[:1]), z_TBZ[:-1]])
        _, h_TBD = self.stack(shifted_TBZ)
        prior = Normal.from_raw(self.prior_head(h_TBD))
        kl_TBZ = Normal(*map(self.split_chunks, q)).kl(prior)
        return kl_TBZ.swapaxes(0, 1), jnp.sum(prior.log_prob(z_TBZ), axis=(0, 2))

    def sample_prior(self, key_B, encode_features, temperature=1.0):
        def step(latent, carry, noise_BZ):
            carries, previous_BZ = carry
            carries, h_BD = latent.stack.step(carries, previous_BZ)
            z_BZ = Normal.from_raw(latent.prior_head(h_BD)).reparameterize(noise_BZ)
            return (carries, z_BZ), z_BZ

        noise_TBZ = self.split_chunks(temperature * normal_noise(key_B, self.size))
        return self.scan_chunks(step, self.stack, noise_TBZ)
