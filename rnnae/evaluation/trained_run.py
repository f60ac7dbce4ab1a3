"""A trained run as an object: encode, decode, reconstruct, interpolate, sample uint8 images.

run = sample.load("runs/mnist")
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

from rnnae import config as config_lib
from rnnae import latents, likelihoods, models, optim, rng, state
from rnnae.config import saved_config
from rnnae.data import pipeline
from rnnae.devices import parallel
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation.mixture import Mixture
from rnnae.records.checkpoint import Checkpoints

MIXTURE_IMAGES = 50_000  # codes that a mixture is fitted to, at most
_CANDIDATES = 64  # codes among which that of a completion is chosen
_CHUNK = 512  # images at a time: one compiled shape whatever the caller's number
_PAD = 32  # a power of two


@dataclasses.dataclass(frozen=True)
class Run:
    """A model with the parameters of a step. Images are uint8 (N, H, W, C), 0 and 255 where the run
    binarised its own; codes are float32 (N, Z). ConfigError for others."""

    model: nn.Module
    params: Any
    config: ml_collections.ConfigDict
    step: int
    mixture: Mixture | None = None

    def encode(self, images_NHWC: np.ndarray) -> np.ndarray:
        """Codes of the images."""
        self._check(images_NHWC)
        return self._each("encode", images_NHWC)

    def _check(self, images_NHWC: np.ndarray) -> None:
        _check_array("images", images_NHWC, np.uint8, self.model.image_shape)
        if self.config.data.binarise != "none" and ((images_NHWC > 0) & (images_NHWC < 255)).any():
            raise ConfigError(
                "this run was trained on binary images, 0 and 255, and these are grey: "
                "rnnae.data.pipeline.binarise_once(images, seed) draws such images from them"
            )

    def decode(self, codes_NZ: np.ndarray, seed: int = 0) -> np.ndarray:
        """Images of the codes: mean images, or sampled ones if the model has no closed-form mean.
        `seed` matters to sampled images only."""
        _check_array("codes", codes_NZ, np.float32, (self.model.latent_dimensions,))
        method = "decode_mean" if self.model.has_mean else "decode_sample"
        return _to_uint8(self._each(method, codes_NZ, _keys(seed, max(len(codes_NZ), 1))))

    def reconstruct(self, images_NHWC: np.ndarray) -> np.ndarray:
        """`decode(encode(images))`."""
        return self.decode(self.encode(images_NHWC))

    def interpolate(self, first_HWC: np.ndarray, last_HWC: np.ndarray, steps: int) -> np.ndarray:
        """`steps` images whose codes lie on the line between those of the two images."""
        ends_2Z = self.encode(np.stack([first_HWC, last_HWC]))
        weight_S1 = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - weight_S1) * ends_2Z[:1] + weight_S1 * ends_2Z[1:])

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """New images: codes from the prior, decoded; a deterministic code's prior is the ex-post
        mixture (Ghosh et al. 2020)."""
        return self.decode(self.codes(count, seed), seed)

    def codes(self, count: int, seed: int = 0) -> np.ndarray:
        """New codes from the prior or the mixture."""
        if count < 0:
            raise ConfigError(f"the number of new codes or images must be 0 or more, not {count}")
        if self.model.has_prior:
            return self._each("sample_prior", _keys(seed, max(count, 1), stream=1))[:count]
        if self.mixture is None:
            raise CheckpointError(
                "this run has no mixture to sample codes from; finish its training, or "
                "Run.with_mixture(images, components=100) fits one now"
            )
        return self.mixture.sample(count, seed)

    def complete(self, images_NHWC: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
        """Images that begin as the given ones do, in their first `rows` rows of pixels, and are
        drawn from there on. Their codes are drawn from the prior and chosen by what they make of
        those rows: importance resampling (Rubin 1987) among `_CANDIDATES` codes for each image.

        Raises ConfigError for a model that cannot, and for rows that end within a token.
        """
        self._check(images_NHWC)
        models.require_capability(self.model, "complete", "completes images")
        height, patch = self.model.image_shape[0], self.model.token_height
        if not 0 <= rows <= height or rows % patch:
            raise ConfigError(f"rows must be a multiple of {patch} from 0 to {height}, not {rows}")
        count = len(images_NHWC)
        codes_NZ = np.zeros((count, 0), np.float32)
        if self.model.latent_dimensions:
            codes = self.codes(_CANDIDATES * count, seed)
            codes_KNZ = codes.reshape(_CANDIDATES, count, self.model.latent_dimensions)
            weigh = functools.partial(self._each, "log_prob_of_rows", last=(rows // patch,))
            log_weight_KN = np.stack([weigh(codes_NZ, images_NHWC) for codes_NZ in codes_KNZ])
            noise_KN = np.random.default_rng(seed).gumbel(size=log_weight_KN.shape)
            chosen_N = np.argmax(log_weight_KN + noise_KN, axis=0)
            codes_NZ = codes_KNZ[chosen_N, np.arange(count)]
        inputs_N = codes_NZ, _keys(seed, max(count, 1)), images_NHWC
        return _to_uint8(self._each("complete", *inputs_N, last=(rows // patch,)))

    def frames(self, codes_NZ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How a model that paints in T steps decodes the codes: mean images, uint8
        (T, N, H, W, C), and where each step wrote, (T, N, 3); see `Draw.frames`.

        Raises ConfigError for a model that does not.
        """
        models.require_capability(self.model, "frames", "paints its images step by step")
        _check_array("codes", codes_NZ, np.float32, (self.model.latent_dimensions,))
        mean, where = _frames(self.model)({"params": self.params}, codes_NZ)
        return _to_uint8(np.asarray(mean)), np.asarray(where)

    def with_mixture(self, images_NHWC: np.ndarray, components: int) -> "Run":
        """The same run with a mixture of `components` Gaussians fitted to the images' codes.
        ConfigError for a model without a code."""
        if not self.model.latent_dimensions:
            raise ConfigError(
                "this model has no code (config.latent.name=none) to fit a mixture to"
            )
        mixture = Mixture.fit(self.encode(images_NHWC), components, self.config.seed)
        return dataclasses.replace(self, mixture=mixture)

    def _each(self, method: str, *inputs_N: np.ndarray, last: tuple = ()) -> np.ndarray:
        """A method of the model, with `last` behind its arrays, of at most `_CHUNK` examples at a
        time; small numbers are padded to 32s."""
        program = _over_devices(self.model, method, last, self.config.devices)
        count, outputs = len(inputs_N[0]), []
        for start in range(0, max(count, 1), _CHUNK):
            rows = min(count - start, _CHUNK)
            size = _CHUNK if count > _CHUNK else -(-max(rows, 1) // _PAD) * _PAD
            # Padding repeats the last row, whose result is cut off again.
            index = np.minimum(np.arange(start, start + size), max(count - 1, 0))
            outputs.append(program(self.params, [_rows(x, index) for x in inputs_N])[:rows])
        return np.concatenate(outputs)


@functools.lru_cache(maxsize=8)
def _over_devices(model: nn.Module, method: str, last: tuple, most: int) -> Callable:
    """The compiled method over a power of two of this process's devices, at most `most` or, for 0,
    as many as there are. Images and keys may come as bytes and as key data. Modules are hashable by
    their fields."""

    def call(params, inputs):
        inputs = [_READ.get(x.dtype.name, lambda x: x)(x) for x in inputs]
        return model.apply({"params": params}, *inputs, *last, method=method)

    devices = jax.local_devices()[: most or None]
    return parallel.map_examples(call, devices[: 1 << min(len(devices), _PAD).bit_length() - 1])


@functools.lru_cache(maxsize=8)
def _frames(model: nn.Module) -> Callable:
    return jax.jit(functools.partial(model.apply, method="frames"))


_READ = {"uint8": pipeline.to_unit, "uint32": jax.random.wrap_key_data}


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


def _keys(seed: int, count: int, stream: int = 0) -> np.ndarray:
    """One key's data for each of `count` examples; of another `stream`, others."""
    key = jax.random.fold_in(jax.random.key(seed), stream)
    return np.asarray(jax.random.key_data(rng.of_positions(key, jnp.arange(count))))


def _rows(x, index):
    """Rows of x; of an x without any, zeros."""
    return (
        x[np.minimum(index, len(x) - 1)]
        if len(x)
        else np.zeros((len(index), *x.shape[1:]), x.dtype)
    )


def load_splits(config: ml_collections.ConfigDict) -> pipeline.Splits:
    """The images of a config, prepared on first use."""
    fields = config.data.to_dict()
    del fields["batch_size"], fields["binarise"], fields["fingerprint"]
    return pipeline.load(**fields, seed=config.seed)


def build_model(
    config: ml_collections.ConfigDict, matmul_dtype: jnp.dtype = jnp.float32
) -> models.Autoencoder:
    """The model of a config whose `data.shape` is that of the images. The operands of its matrix
    products are rounded to `matmul_dtype`; see `nn/matmul.py`."""
    fields = config.model.to_dict()
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    shape = tuple(config.data.shape)
    likelihood = likelihoods.likelihood(channels=shape[2], **config.likelihood)
    latent = latents.latent(image_shape=shape, matmul_dtype=matmul_dtype, **config.latent)
    name = fields.pop("name")
    return models.model(name, shape, likelihood, latent, matmul_dtype=matmul_dtype, **fields)


def build(config: ml_collections.ConfigDict, total_steps: int) -> tuple[nn.Module, Any, Any]:
    """(model, optimizer, schedule) of a config; the model computes all products in float32."""
    model = build_model(config)
    fields = config.optim.to_dict()
    del fields["ema"], fields["precision"]
    schedule = optim.learning_rate_schedule(
        total_steps=total_steps,
        **{key: fields.pop(key) for key in optim.SCHEDULE_KEYS},
    )
    return model, optim.optimizer(schedule, **fields), schedule


def load(workdir: str | Path, checkpoint: str = "latest") -> Run:
    """The run in `workdir` with its averaged parameters, `latest` or `best` on validation.

    Raises CheckpointError if there is none that verifies, ConfigError for another `checkpoint`, or
    if the run is of another version of this package. A density over the codes comes with the
    weights that it was fitted to.
    """
    workdir = Path(workdir)
    config = saved_config.get_config(str(saved_config.find(workdir)))
    model, optimizer, _ = build(config, total_steps=1)
    like = state.create(model, optimizer, model.image_shape, config.seed)
    restored = Checkpoints(workdir).restore(like, kind=checkpoint)
    if restored is None:
        raise CheckpointError(
            f"{workdir} has no {checkpoint!r} checkpoint: "
            + ("nothing was validated; take latest" if checkpoint == "best" else "train it first")
        )
    step = int(restored.step)
    mixture = Mixture.load(workdir / "mixture.npz", step)
    return Run(model, jax.device_get(restored.ema), config, step, mixture)


def load_with_splits(
    config: ml_collections.ConfigDict, workdir: str | Path
) -> tuple[Run, pipeline.Splits]:
    """The run in `workdir` and its images; ConfigError if `config` is of another run or others."""
    run, splits = load(workdir, config.eval.checkpoint), load_splits(config)
    now = config_lib.resolved(config, splits.train.shape[1:], pipeline.fingerprint(splits))
    saved_config.refuse_another_run(now, workdir)
    return run, splits


def few(images: pipeline.Source, most: int, config: ml_collections.ConfigDict) -> np.ndarray:
    """The first images of a split, as the config's protocol has them: binarised if it binarises."""
    chosen = images[np.arange(min(len(images), most))]
    return pipeline.held_out(chosen, config.data.binarise, config.eval.seeds[0])
