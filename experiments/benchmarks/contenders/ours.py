"""rnnae itself: the same programs that its runs and its users call."""

import importlib.metadata
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from configs import mnist_sweep
from experiments.benchmarks.turns import Program
from rnnae import build, state
from rnnae import config as config_lib
from rnnae.devices import parallel, runtime
from rnnae.evaluation import trained_run
from rnnae.nn import recurrence, scans
from rnnae.nn.matmul import MATMUL_DTYPES, Dense
from rnnae.nn.recurrence import Stack
from rnnae.nn.sweeps import GridSweep
from rnnae.training.step import make_train_step
from rnnae.types import Batch

VERSIONS = {name: importlib.metadata.version(name) for name in ("jax", "flax")}
_STEPS = 4  # training steps per program call, as in a run


def row(size: dict) -> Program:
    """Training of the row autoencoder, latent of 64: `cell`, `width`, `batch`, `precision`."""
    return _training(row_config(size), size)


def row_config(size: dict) -> ConfigDict:
    config = config_lib.default("sequence")
    config.model.encoder_direction = config.model.decoder_direction = "forward"
    config.model.cell, config.model.width = size["cell"], size["width"]
    config.model.readout, config.model.latent_input = "last", "initial_state"
    return config


def draw(size: dict) -> Program:
    """Training of DRAW: `steps`, `width`, `batch`, `attention` (side of both windows, 0: none)."""
    return _training(draw_config(size), size)


def draw_config(size: dict) -> ConfigDict:
    config = config_lib.default("draw")
    config.model.steps, config.model.width = size["steps"], size["width"]
    config.model.read_size = config.model.write_size = size["attention"]
    config.likelihood.name, config.data.binarise = "bernoulli", "dynamic"
    config.latent.name, config.latent.size = "gaussian", 10
    return config


def flagship(size: dict) -> Program:
    """Training of configs/mnist_sweep.py without a latent.

    `whole`: without microbatches. `plain`: each sweep is an `nn.scan`.
    """
    config = flagship_config(size)
    if size.get("whole"):
        config.cpu_microbatch = 0
    if size.get("plain"):
        recurrence.LinearCell = ()  # no cell is linear: all use `nn.scan`
    return _training(config, size)


def flagship_config(size: dict) -> ConfigDict:
    del size
    config = mnist_sweep.get_config()
    config.latent.name, config.optim.name = "none", "adam"
    return config


def pixels(size: dict) -> Program:
    """Training of an LSTM that predicts each of 784 pixels: `width`, `batch`, `precision`."""

    class Model(nn.Module):
        def setup(self):
            dtype = MATMUL_DTYPES[size["precision"]]
            self.stack = Stack("lstm", size["width"], matmul_dtype=dtype)
            self.head = Dense(1, matmul_dtype=dtype)

        def __call__(self, x_TBI):
            shifted_TBI = jnp.concatenate([jnp.zeros_like(x_TBI[:1]), x_TBI[:-1]])
            _, h_TBD = self.stack(shifted_TBI)
            return self.head(h_TBD)

    model = Model()
    devices = _devices(size["batch"])
    images_BHWC = np.asarray(_pixels(size["batch"])).transpose(1, 0, 2)[..., None]

    def loss(params, x_TBI):
        logits_TBI = model.apply(params, x_TBI)
        return jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits_TBI, x_TBI), axis=(0, 2)))

    def step(train_state, image_BHWC, positions_B, average):
        params, opt_state = train_state
        gradients = average(jax.grad(loss)(params, image_BHWC[..., 0].transpose(1, 0, 2)))
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), positions_B[0]

    optimizer = optax.adam(1e-3)
    params = model.init(jax.random.key(0), jnp.zeros((784, 1, 1)))
    train_state = parallel.replicate((params, optimizer.init(params)), devices)
    return _calls(step, train_state, np.stack([images_BHWC] * _STEPS), devices)


def linear(size: dict) -> Program:
    """A linear recurrence, forward and backward: `steps`, `width`, `batch`."""
    return gradient_of(scans.linear, size)


def sweeps(size: dict) -> Program:
    """One sweep of minGRU across a grid, forward and backward: `side`, `width`, `batch`.

    `plain`: the sweep is an `nn.scan`.
    """
    if size.get("plain"):
        recurrence.LinearCell = ()
    sweep = GridSweep("min_gru", size["width"], "across")
    shape = (size["side"], size["side"], size["batch"], size["width"])
    x_RQBD, weight_RQBD = (jax.random.normal(jax.random.key(i), shape) for i in range(2))
    params = sweep.init(jax.random.key(2), x_RQBD)
    gradient = jax.jit(
        jax.grad(lambda p, x: jnp.sum(weight_RQBD * sweep.apply(p, x)), argnums=(0, 1))
    )
    return timed(lambda: gradient(params, x_RQBD))


def raster(size: dict) -> Program:
    """Samples `batch` images pixel by pixel from the LSTM of `pixels`, over all devices."""
    stack, head = Stack("lstm", size["width"]), Dense(1)
    devices = _devices(size["batch"])
    shard = size["batch"] // len(devices)
    zero_BI = jnp.zeros((shard, 1))
    params = (
        stack.init(jax.random.key(0), zero_BI[None]),
        head.init(jax.random.key(0), jnp.zeros((1, size["width"]))),
    )

    def draw(params, key):
        def step(carry, key):
            carries, x_BI = carry
            carries, h_BD = stack.apply(params[0], carries, x_BI, method="step")
            logits_BI = head.apply(params[1], h_BD)
            x_BI = jax.random.bernoulli(key, nn.sigmoid(logits_BI)).astype(jnp.float32)
            return (carries, x_BI), x_BI

        carry = stack.zero_carries(shard), zero_BI
        return jax.lax.scan(step, carry, jax.random.split(key, 784))[1]

    over_devices = jax.pmap(draw, in_axes=(None, 0), devices=devices)
    keys = jax.random.split(jax.random.key(1), len(devices))
    return timed(lambda: over_devices(params, keys))


def images(size: dict) -> Program:
    """Samples `batch` images from an untrained `model`, a key of `IMAGES`.

    `rerun`: the whole network is run again for every token, on one device with all cores.
    """
    _devices(size["batch"])  # must come before JAX starts
    config = IMAGES[size["model"]](size)
    config.data.shape = (28, 28, 1)
    model, (optimizer, _) = build.build_model(config), build.build_optimizer(config, 1)
    params = state.create(model, optimizer, model.image_shape, 0).params
    key_B = jax.random.split(jax.random.key(0), size["batch"])
    latents_BZ = jax.random.normal(jax.random.key(1), (size["batch"], model.latent_dimensions))
    if size.get("rerun"):
        return timed(_rerun(model, params, latents_BZ, key_B))
    run = trained_run.TrainedRun(model, params, config, step=0)
    return timed(lambda: run.decode(np.asarray(latents_BZ)))


IMAGES = {"row": row_config, "draw": draw_config, "sweep": flagship_config}


def _rerun(model, params, latents_BZ, key_B) -> Callable[[], jax.Array]:
    """Samples images of the sweep model by running its whole network again for every token."""
    side, batch = model.token_height, len(key_B)

    @jax.jit
    def sample_token(params, x_BHWC, row, column):
        p = model.apply({"params": params}, latents_BZ, x_BHWC, method="decode_teacher_forced")
        corner = (0, row * side, column * side, 0)
        patch = jax.lax.dynamic_slice(
            model.likelihood.sample(p, key_B), corner, (batch, side, side, 1)
        )
        return jax.lax.dynamic_update_slice(x_BHWC, patch, corner)

    def call():
        x_BHWC = jnp.zeros((batch, *model.image_shape))
        for row in range(model.image_shape[0] // side):
            for column in range(model.image_shape[1] // side):
                x_BHWC = sample_token(params, x_BHWC, row, column)
        return x_BHWC

    return call


def _training(config, size: dict) -> Program:
    """The training program of a run on all cores, with plain Adam."""
    config.data.shape, batch = (28, 28, 1), size["batch"]
    config.optim.clip_norm = config.optim.ema = 0.0
    config.optim.matmul_precision = size["precision"]
    devices = _devices(batch)
    model = build.build_model(config)
    optimizer, learning_rate = build.build_optimizer(config, 1000)
    train_state = parallel.replicate(state.create(model, optimizer, model.image_shape, 0), devices)
    step = make_train_step(config, optimizer, learning_rate, devices[0])
    generator = np.random.default_rng(0)
    images_KBHWC = generator.integers(0, 256, (_STEPS, batch, 28, 28, 1)).astype(np.uint8)
    return _calls(step, train_state, images_KBHWC, devices)


def _devices(batch: int) -> list[jax.Device]:
    """The devices that a run with this batch size would use."""
    runtime.setup(compilation_cache="", devices=0, batch_size=batch, keep_memory=False)
    return parallel.choose_devices(0)


def _calls(
    step: Callable, train_state, images_KBHWC: np.ndarray, devices: list[jax.Device]
) -> Program:
    """Training calls of K steps each over all devices, as in a run."""
    call = parallel.train_call(step, devices)
    unlabelled = np.full(images_KBHWC.shape[:2], -1, np.int32)
    shards = parallel.shard_batches(Batch(images_KBHWC, unlabelled), devices)

    def run(steps: int) -> None:
        nonlocal train_state
        for _ in range(steps // len(images_KBHWC)):
            train_state, metrics = call(train_state, shards)
        jax.block_until_ready(metrics)

    return Program(run, VERSIONS, len(images_KBHWC))


def descent(loss, params, *inputs) -> Program:
    """Training by plain Adam on `loss(params, *inputs)`."""
    optimizer = optax.adam(1e-3)
    train_state = (params, optimizer.init(params))

    @jax.jit
    def step(train_state, *inputs):
        params, opt_state = train_state
        gradients = jax.grad(loss)(params, *inputs)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state

    def run(steps: int) -> None:
        nonlocal train_state
        for _ in range(steps):
            train_state = step(train_state, *inputs)
        jax.block_until_ready(train_state)

    return Program(run, VERSIONS)


def gradient_of(recur, size: dict) -> Program:
    """The gradient of a weighted sum of `recur(a_TBD, b_TBD, h_BD)` with respect to a, b and h."""
    shape = (size["steps"], size["batch"], size["width"])
    keys = jax.random.split(jax.random.key(0), 4)
    a_TBD = jax.random.uniform(keys[0], shape)
    b_TBD, weight_TBD = (jax.random.normal(key, shape) for key in keys[1:3])
    h_BD = jax.random.normal(keys[3], shape[1:])
    gradient = jax.jit(
        jax.grad(lambda a, b, h: jnp.sum(weight_TBD * recur(a, b, h)), argnums=(0, 1, 2))
    )
    return timed(lambda: gradient(a_TBD, b_TBD, h_BD))


def timed(call) -> Program:
    """A program whose step is one call of `call()`, which returns arrays."""

    def run(steps: int) -> None:
        for _ in range(steps):
            result = call()
        jax.block_until_ready(result)

    return Program(run, VERSIONS)


def _pixels(batch: int) -> jax.Array:
    return jax.random.bernoulli(jax.random.key(0), 0.2, (784, batch, 1)).astype(jnp.float32)
