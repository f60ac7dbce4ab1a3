"""One device = several devices; pmap = jit with sharding; a batch must divide over devices."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnae import build, objective, state
from rnnae.devices import parallel
from rnnae.errors import ConfigError
from rnnae.training.step import train_step
from tests import tiny

SHAPE, STEPS, BATCH = (4, 4, 1), 3, 8


def setup(microbatch=0):
    """With everything that could depend on how the batch is split: random pixels and latents, and
    free bits, which compare with the mean KL of the whole batch."""
    config = tiny.config(
        shape=SHAPE, latent__name="gaussian", likelihood__name="bernoulli", optim__weight_decay=1e-3
    )
    built, (optimizer, learning_rate) = (
        build.build_model(config),
        build.build_optimizer(config, STEPS),
    )
    step = functools.partial(
        train_step,
        model=built,
        optimizer=optimizer,
        learning_rate=learning_rate,
        ema_decay=0.9,
        binarise="dynamic",
        augmentation=None,
        augment_fraction=0.0,
        label_dropout=0.3,
        kl_weight=functools.partial(objective.kl_weight, beta=1.0, anneal_steps=5),
        free_bits=0.1,  # below the KL of some latent dimensions, above that of others
        microbatch=microbatch,
    )
    images = np.random.default_rng(0).integers(0, 256, (STEPS, BATCH, *SHAPE)).astype(np.uint8)
    return step, state.create(built, optimizer, SHAPE, seed=0), images


def comparable(train_state, metrics):
    raw = train_state.replace(key=jax.random.key_data(train_state.key))
    return jax.tree.map(np.asarray, (raw, metrics))


@functools.cache
def run(count, microbatch=0):
    """The final state and metrics of a run on `count` devices."""
    step, start, images = setup(microbatch)
    devices = jax.local_devices()[:count]
    assert len(devices) == count
    call = parallel.train_call(step, devices)
    return comparable(*call(start, parallel.shard_batches(tiny.batch(images), devices)))


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_one_device_equals_two():
    assert_close(run(1), run(2))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_in_parts_equals_the_whole_batch(devices):
    assert_close(
        run(devices, microbatch=3), run(1)
    )  # the parts have 2 images, because 3 does not divide a shard


def test_pmap_equals_jit_with_named_sharding():
    step, start, images = setup()
    mesh = Mesh(np.array(jax.local_devices()[:2]), ("data",))
    sharded = jax.device_put(tiny.batch(images), NamedSharding(mesh, PartitionSpec(None, "data")))
    replicated = jax.device_put(start, NamedSharding(mesh, PartitionSpec()))

    @jax.jit
    def call(train_state, batches):
        return jax.lax.scan(
            lambda s, batch: step(s, batch, jnp.arange(BATCH), lambda tree: tree),
            train_state,
            batches,
        )

    assert_close(run(2), comparable(*call(replicated, sharded)))


@pytest.mark.exhaustive
def test_eight_devices_equal_one():
    """In a new process, because the number of virtual devices is fixed when jax starts."""
    program = (
        "import jax, numpy as np; from tests.parallel_test import *; "
        "assert len(jax.devices()) == 8; "
        "assert_close(run(1), run(8)); print('equal')"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | flags, capture_output=True, text=True
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_the_state_of_one_call_feeds_the_same_program_again():
    step, start, images = setup()
    devices = jax.local_devices()[:2]
    call = parallel.train_call(step, devices)
    shards = parallel.shard_batches(tiny.batch(images), devices)
    program = call.lower(start, shards).compile()
    once, _ = program(start, shards)
    twice, _ = program(once, shards)
    assert int(twice.step) == 2 * STEPS


def test_shards_have_consecutive_examples():
    images = np.arange(2 * 6).reshape(2, 6, 1, 1, 1)
    shards = parallel.shard_batches(tiny.batch(images), jax.local_devices()[:2])
    assert shards.image_BHWC.shape == (2, 2, 3, 1, 1, 1) and shards.label_B.shape == (2, 2, 3)
    assert shards.image_BHWC[1, :, :, 0, 0, 0].tolist() == [[3, 4, 5], [9, 10, 11]]


def test_map_examples_keeps_the_order():
    devices = jax.local_devices()[:2]
    double = parallel.map_examples(lambda p, x: {"y": p * x[0][:, 0] + x[1]}, devices)
    x = np.arange(6.0, dtype=np.float32)
    np.testing.assert_allclose(double(jnp.float32(2.0), (x[:, None], x))["y"], 3 * x)


def test_a_batch_or_number_of_devices_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="use 4 or 6"):
        parallel.check_batch(5, [None, None])
    with pytest.raises(ConfigError, match="this machine has"):
        parallel.choose_devices(1000)
