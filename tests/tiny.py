"""Tiny models of every kind, shared by the tests of models, training steps and likelihoods."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae import build as rnnae_build
from rnnae.config import default
from rnnae.models import MODELS
from rnnae.types import Batch

SHAPE = (4, 6, 1)
_SMALL = {
    "sequence": {"width": 4, "patch": 2},
    "mlp": {"widths": (8,)},
    "sweep": {"width": 4, "blocks": 2, "encoder_blocks": 1, "token_latent_width": 2},
    "draw": {"width": 4, "steps": 3, "read_size": 2, "write_size": 3, "canvas": 3},
    "classifier": {"width": 4, "features": 8, "classes": 3},
}
GENERATIVE = [name for name, kind in MODELS.items() if kind.generative]


def slow(*values):
    """A case of `pytest.mark.parametrize` that only runs with the slow tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


def config(name="sequence", shape=SHAPE, **changes):
    """The default config of a model with tiny sizes. `changes` are keys of config.model, or of
    another section with __ for the dot."""
    settings = default(name)
    values = {"data.shape": shape, "latent.size": 5}
    values |= {f"model.{key}": value for key, value in _SMALL[name].items()}
    if name == "sweep":
        values |= {"latent.name": "gaussian", "likelihood.name": "categorical"}
    if name == "draw":
        values |= {"latent.name": "gaussian", "likelihood.name": "bernoulli"}
    if name == "classifier":
        values |= {"latent.name": "none"}
    for key, value in changes.items():
        values[key.replace("__", ".") if "__" in key else f"model.{key}"] = value
    # Options that only some latents and likelihoods have.
    latent = values.get("latent.name", "deterministic")
    if "autoregressive" in (latent, values.get("latent.posterior")):
        values = {"latent.chunk": 5, "latent.width": 4} | values
    if latent in ("mixture", "vamp"):
        values = {"latent.components": 3} | values
    if values.get("likelihood.name") == "logistic_mixture":
        values = {"likelihood.components": 2} | values
    settings.update_from_flattened_dict(values)
    return settings


def build(name="sequence", shape=SHAPE, seed=0, **changes):
    """(model, variables) of a tiny model with random parameters."""
    model = rnnae_build.build_model(config(name, shape, **changes))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images(shape), keys())
    return model, random_like(shapes, seed)


def apply(model, *inputs, method=None):
    """`model.apply` compiled as one program. Op by op, compilation takes several times longer."""
    return jax.jit(functools.partial(model.apply, method=method))(*inputs)


def images(shape=SHAPE, batch=3, seed=9):
    """Grey levels of 8 bits, in [0, 1]."""
    return jnp.round(255 * jax.random.uniform(jax.random.key(seed), (batch, *shape))) / 255


def binary(shape=SHAPE, batch=3, seed=9):
    """Pixels 0 and 1."""
    return jnp.round(images(shape, batch, seed))


def batch(images, label=-1):
    """uint8 images, with any axes before H, W, C, and the same label for all."""
    return Batch(images, np.full(images.shape[:-3], label, np.int32))


def keys(batch=3, seed=7):
    """One key for each example."""
    return jax.random.split(jax.random.key(seed), batch)


def random_like(tree, seed=0, scale=0.5):
    """The tree with random values in every leaf, so that no bias or gain has a trivial value."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(scale * generator.normal(size=x.shape), jnp.float32), tree
    )
