"""A trained run as an object: encode, decode, reconstruct, interpolate, complete, sample images.

run = rnnae.load("runs/mnist")
images = run.sample(10, seed=0)  # uint8, (10, 28, 28, 1)
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import linen as nn

from rnnae import build, files, models, rng, state
from rnnae import config as config_lib
from rnnae.config import saved_config
from rnnae.data import binarisation, pipeline
from rnnae.data.images import ImageArray
from rnnae.devices import memory, parallel
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation.mixture import Mixture, digest
from rnnae.records.checkpoint import Checkpoints

_CANDIDATES = 64  # latents from which the one of a completion is chosen
_CHUNK = 512  # images at a time, so that one compiled shape serves any number
_PAD = 32  # small numbers of images are padded to a multiple of this; a power of two


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A model with the parameters of one step.

    Images are uint8 (N, H, W, C), and only 0 and 255 where the run was trained on binarised images;
    latents are float32 (N, Z). Other arrays raise ConfigError, and so does a seed that is not an
    integer from 0 to MAX_SEED.
    """

    model: nn.Module
    params: Any
    config: ml_collections.ConfigDict
    step: int
    mixture: Mixture | None = None

    def encode(self, images_NHWC: np.ndarray) -> np.ndarray:
        """The mean latent of each image."""
        self._check_images(images_NHWC)
        return self._apply("encode", images_NHWC)

    def decode(self, latents_NZ: np.ndarray, seed: int = 0) -> np.ndarray:
        """The mean image of each latent, or an image drawn given the latent where the model has no
        closed form of the mean (then `seed` matters)."""
        _check_array("latents", latents_NZ, np.float32, (self.model.latent_dimensions,))
        method = "decode_mean" if self.model.has_mean else "decode_sample"
        keys_N = _example_keys(seed, max(len(latents_NZ), 1))
        return _to_uint8(self._apply(method, latents_NZ, keys_N))

    def reconstruct(self, images_NHWC: np.ndarray) -> np.ndarray:
        """`decode(encode(images))`."""
        return self.decode(self.encode(images_NHWC))

    def interpolate(self, first_HWC: np.ndarray, last_HWC: np.ndarray, steps: int) -> np.ndarray:
        """`steps` images whose latents lie on the line between the latents of two images."""
        ends_2Z = self.encode(np.stack([first_HWC, last_HWC]))
        weight_S1 = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - weight_S1) * ends_2Z[:1] + weight_S1 * ends_2Z[1:])

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """New images, decoded from latents of the prior. The prior of a deterministic latent is the
        mixture that was fitted after training (Ghosh et al. 2020)."""
        return self.decode(self.sample_latents(count, seed), seed)

    def sample_latents(self, count: int, seed: int = 0) -> np.ndarray:
        """New latents from the prior or the mixture; CheckpointError if there is neither."""
        config_lib.check_seed(seed)
        if count < 0:
            raise ConfigError(f"the number of new images must be 0 or more, not {count}")
        if self.model.has_prior:
            keys_N = _example_keys(seed, max(count, 1), stream=1)
            return self._apply("sample_prior", keys_N)[:count]
        if self.mixture is None:
            raise CheckpointError(
                "this run has no mixture to sample latents from; finish its training, or fit one "
                "now by TrainedRun.with_mixture(images, components=100)"
            )
        return self.mixture.sample(count, seed)

    def complete(self, images_NHWC: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
        """Images whose first `rows` rows of pixels are given, and whose other pixels are drawn.

        The latent of each image is drawn from the prior and resampled by the likelihood of the
        given rows: importance resampling (Rubin 1987) among `_CANDIDATES` latents. Raises
        ConfigError for a model without this capability, and for rows that end within a token.
        """
        config_lib.check_seed(seed)
        self._check_images(images_NHWC)
        models.require_capability(self.model, "complete", "completes images")
        height, side = self.model.image_shape[0], self.model.token_height
        if not 0 <= rows <= height or rows % side:
            raise ConfigError(f"rows must be a multiple of {side} from 0 to {height}, not {rows}")
        count, dimensions = len(images_NHWC), self.model.latent_dimensions
        latents_NZ = np.zeros((count, 0), np.float32)
        if dimensions:
            candidates = self.sample_latents(_CANDIDATES * count, seed)
            candidates_KNZ = candidates.reshape(_CANDIDATES, count, dimensions)
            log_prob = functools.partial(self._apply, "log_prob_of_rows", last=(rows // side,))
            log_weight_KN = np.stack([log_prob(z_NZ, images_NHWC) for z_NZ in candidates_KNZ])
            noise_KN = np.random.default_rng(seed).gumbel(size=log_weight_KN.shape)
            chosen_N = np.argmax(log_weight_KN + noise_KN, axis=0)
            latents_NZ = candidates_KNZ[chosen_N, np.arange(count)]
        inputs_N = latents_NZ, _example_keys(seed, max(count, 1)), images_NHWC
        return _to_uint8(self._apply("complete", *inputs_N, last=(rows // side,)))

    def frames(self, latents_NZ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How a model that paints in T steps decodes the latents: mean images, uint8
        (T, N, H, W, C), and where each step wrote, (T, N, 3); see `Draw.frames`.

        Raises ConfigError for a model without this capability.
        """
        models.require_capability(self.model, "frames", "paints its images step by step")
        _check_array("latents", latents_NZ, np.float32, (self.model.latent_dimensions,))
        mean, where = _frames(self.model)({"params": self.params}, latents_NZ)
        return _to_uint8(np.asarray(mean)), np.asarray(where)

    def with_mixture(self, images_NHWC: np.ndarray, components: int) -> "TrainedRun":
        """This run with a mixture of `components` Gaussians fitted to the latents of the images.
        ConfigError for a model without a latent."""
        if not self.model.latent_dimensions:
            raise ConfigError(
                "this model has no latent (config.latent.name=none) to fit a mixture to"
            )
        mixture = Mixture.fit(self.encode(images_NHWC), components, self.config.seed)
        return dataclasses.replace(self, mixture=mixture)

    def _check_images(self, images_NHWC: np.ndarray) -> None:
        _check_array("images", images_NHWC, np.uint8, self.model.image_shape)
        if self.config.data.binarise != "none" and ((images_NHWC > 0) & (images_NHWC < 255)).any():
            raise ConfigError(
                "this run was trained on binary images, 0 and 255, and these are grey: "
                "rnnae.data.binarisation.binarise_once(images, seed) makes binary images of them"
            )

    def _apply(self, method: str, *inputs_N: np.ndarray, last: tuple = ()) -> np.ndarray:
        """A method of the model, called with the arrays and then `last`, on at most `_CHUNK`
        examples at a time."""
        program = _over_devices(self.model, method, last, self.config.devices)
        count, outputs = len(inputs_N[0]), []
        for start in range(0, max(count, 1), _CHUNK):
            rows = min(count - start, _CHUNK)
            size = _CHUNK if count > _CHUNK else -(-max(rows, 1) // _PAD) * _PAD
            # The padding repeats the last example; its results are dropped.
            index = np.minimum(np.arange(start, start + size), max(count - 1, 0))
            outputs.append(program(self.params, [_rows(x, index) for x in inputs_N])[:rows])
        return np.concatenate(outputs)


@functools.lru_cache(maxsize=8)
def _over_devices(model: nn.Module, method: str, last: tuple, most: int) -> Callable:
    """The compiled method, over a power of two of this process's devices: at most `most`, or for 0
    as many as there are. Images may come as uint8, and keys as their data. Modules are hashable by
    their fields."""

    def call(params, inputs):
        inputs = [_CONVERT.get(x.dtype.name, lambda x: x)(x) for x in inputs]
        return model.apply({"params": params}, *inputs, *last, method=method)

    devices = jax.local_devices()[: most or None]
    return parallel.map_examples(call, devices[: 1 << min(len(devices), _PAD).bit_length() - 1])


@functools.lru_cache(maxsize=8)
def _frames(model: nn.Module) -> Callable:
    return jax.jit(functools.partial(model.apply, method="frames"))


_CONVERT = {"uint8": binarisation.to_unit, "uint32": jax.random.wrap_key_data}


def _check_array(what: str, x: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    """ConfigError unless x is an array of that type of shape (N, *shape)."""
    if not isinstance(x, np.ndarray | jax.Array):
        has = f"a {type(x).__name__}"
    elif x.dtype != dtype or x.shape[1:] != shape or not x.ndim:
        has = f"{x.dtype} {x.shape}"
    else:
        return
    sides = ", ".join(map(str, shape))
    raise ConfigError(f"{what} must be {np.dtype(dtype)} of shape (N, {sides}), not {has}")


def _to_uint8(x: np.ndarray) -> np.ndarray:
    return np.round(255 * x).astype(np.uint8)


def _example_keys(seed: int, count: int, stream: int = 0) -> np.ndarray:
    """The data of one key for each of `count` examples; streams are independent of each other."""
    key = jax.random.fold_in(jax.random.key(config_lib.check_seed(seed)), stream)
    return np.asarray(jax.random.key_data(rng.example_keys(key, jnp.arange(count))))


def _rows(x, index):
    """The rows `index` of x; zeros if x has no rows."""
    if len(x):
        return x[np.minimum(index, len(x) - 1)]
    return np.zeros((len(index), *x.shape[1:]), x.dtype)


def load(workdir: str | Path, checkpoint: str = "latest") -> TrainedRun:
    """The run in `workdir` with its averaged parameters, `latest` or `best` on validation.

    A mixture over the latents is loaded if it was fitted with these parameters. Raises
    CheckpointError if there is no checkpoint that verifies; ConfigError for another `checkpoint`,
    or if the run was saved by an incompatible version of rnnae.
    """
    workdir = files.expand(workdir)
    config = saved_config.get_config(str(saved_config.find(workdir)))
    shape = tuple(config.data.shape)
    if len(shape) != 3 or min(shape) < 1:  # every run saves the shape of its images
        raise saved_config.damaged(workdir / files.CONFIG)
    memory.check_state(config, shape)
    model = build.build_model(config)
    optimizer, _ = build.build_optimizer(config, total_steps=1)
    like = state.create(model, optimizer, model.image_shape, config.seed)
    with Checkpoints(workdir, config.to_dict()) as checkpoints:
        restored = checkpoints.restore(like, kind=checkpoint)
    if restored is None:
        raise CheckpointError(
            f"{workdir} has no {checkpoint!r} checkpoint: "
            + ("nothing was validated; take latest" if checkpoint == "best" else "train it first")
        )
    step = int(restored.step)
    params, mixture = jax.device_get(restored.ema), None
    if not model.has_prior:
        mixture = Mixture.load(workdir / files.MIXTURE, step, digest(params))
    return TrainedRun(model, params, config, step, mixture)


def load_with_splits(
    config: ml_collections.ConfigDict, workdir: str | Path
) -> tuple[TrainedRun, pipeline.Splits]:
    """The run in `workdir` and its images; ConfigError if `config` belongs to another run or names
    other images."""
    workdir = files.expand(workdir)
    run = load(workdir, config.eval.checkpoint)
    memory.check_evaluation(config, run.model.image_shape)
    if line := saved_config.other_data(config, workdir):
        print(line, flush=True)
    splits = build.load_splits(config)
    shape, fingerprint = splits.train.shape[1:], pipeline.fingerprint(splits)
    saved_config.refuse_another_run(config_lib.resolved(config, shape, fingerprint), workdir)
    return run, splits


def eval_subset(images: ImageArray, most: int, config: ml_collections.ConfigDict) -> np.ndarray:
    """The first images of a split, at most `most`, binarised if the config binarises."""
    chosen = images[np.arange(min(len(images), most))]
    return binarisation.evaluation_images(chosen, config.data.binarise, config.eval.seeds[0])
