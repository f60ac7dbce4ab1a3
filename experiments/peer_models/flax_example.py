# Copyright 2024 The Flax Authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The VAE of flax's examples/vae, which is not part of the package.

Copied from models.py, train.py and configs/default.py of github.com/google/flax, commit
18f8f311c275. Changed: the steps are compiled, and the loss has its terms for each image.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

from experiments.peer_models import Peer

BATCH_SIZE, LEARNING_RATE, LATENTS = 128, 1e-3, 20


class Encoder(nn.Module):
    latents: int

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(500, name="fc1")(x)
        x = nn.relu(x)
        mean_x = nn.Dense(self.latents, name="fc2_mean")(x)
        logvar_x = nn.Dense(self.latents, name="fc2_logvar")(x)
        return mean_x, logvar_x


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        z = nn.Dense(500, name="fc1")(z)
        z = nn.relu(z)
        z = nn.Dense(784, name="fc2")(z)
        return z


class VAE(nn.Module):
    latents: int = LATENTS

    def setup(self):
        self.encoder = Encoder(self.latents)
        self.decoder = Decoder()

    def __call__(self, x, z_rng):
        mean, logvar = self.encoder(x)
        z = reparameterize(z_rng, mean, logvar)
        recon_x = self.decoder(z)
        return recon_x, mean, logvar


def reparameterize(rng, mean, logvar):
    std = jnp.exp(0.5 * logvar)
    eps = jax.random.normal(rng, logvar.shape)
    return mean + eps * std


@jax.vmap
def kl_divergence(mean, logvar):
    return -0.5 * jnp.sum(1 + logvar - jnp.square(mean) - jnp.exp(logvar))


@jax.vmap
def binary_cross_entropy_with_logits(logits, labels):
    logits = nn.log_sigmoid(logits)
    return -jnp.sum(labels * logits + (1.0 - labels) * jnp.log(-jnp.expm1(logits)))


def terms(params, batch, z_rng):
    """(cross-entropy, KL) of each image, nats."""
    recon_x, mean, logvar = VAE().apply({"params": params}, batch, z_rng)
    return binary_cross_entropy_with_logits(recon_x, batch), kl_divergence(mean, logvar)


@jax.jit
def train_step(state, batch, z_rng):
    def loss_fn(params):
        bce_loss, kld_loss = terms(params, batch, z_rng)
        return bce_loss.mean() + kld_loss.mean()

    grads = jax.grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads)


def vae(seed: int) -> Peer:
    """The VAE at the settings of its configs/default.py."""
    rng, key = jax.random.split(jax.random.key(seed))
    params = VAE().init(key, jnp.ones((BATCH_SIZE, 784), jnp.float32), rng)["params"]
    optimizer = optax.adam(LEARNING_RATE)
    state = train_state.TrainState.create(apply_fn=VAE().apply, params=params, tx=optimizer)

    def step(x_BHWC: np.ndarray) -> None:
        nonlocal state, rng
        rng, key = jax.random.split(rng)
        state = jax.block_until_ready(train_step(state, x_BHWC.reshape(-1, 784), key))

    def scores(x_BHWC: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal rng
        rng, key = jax.random.split(rng)
        bce_B, kl_B = jax.jit(terms)(state.params, x_BHWC.reshape(-1, 784), key)
        return {"bound": np.asarray(bce_B + kl_B), "kl": np.asarray(kl_B)}

    parameters = sum(array.size for array in jax.tree.leaves(params))
    return Peer(BATCH_SIZE, parameters, step, scores)
