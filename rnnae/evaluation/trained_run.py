"""A trained run as an object: encode, decode, reconstruct, interpolate, complete, sample images.

run = rnnae.load("runs/mnist")
images = run.sample(10, seed=0)  # uint8, (10, 28, 28, 1)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import linen as nn

from rnnae import models
from rnnae.config import check_seed, default
from rnnae.devices import parallel
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import batched, classes, completion
from rnnae.evaluation.classes import Label
from rnnae.evaluation.evaluate import Evaluator
from rnnae.evaluation.mixture import Mixture
from rnnae.models.sampling import MODEL_DISTRIBUTION, Sampling


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A model with the parameters of one step.

    Images are uint8 (N, H, W, C), and only 0 and 255 where the run was trained on binarised images;
    latents are float32 (N, Z). Other arrays raise ConfigError, and so does a seed that is not an
    integer from 0 to MAX_SEED. A `label` is the class of all images, or one for each, -1 where it
    is unknown. It raises ConfigError if there is no such class, or if the model is told none
    (config.model.classes=0); only `sample` and `sample_latents` can then use a mixture of a class.
    """

    model: nn.Module
    params: Any
    config: ml_collections.ConfigDict
    step: int
    mixture: Mixture | None = None
    class_mixture: Mixture | None = None  # a mixture for each class

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the images that the run was trained on, () if unknown."""
        return classes.class_names(self.config)

    @property
    def makes_classes(self) -> bool:
        """Whether `sample` can be asked for a class."""
        return bool(self.model.classes) or self.class_mixture is not None

    def encode(self, images_NHWC: np.ndarray, label: Label = None) -> np.ndarray:
        """The mean latent of each image."""
        self._check_images(images_NHWC)
        return self.apply("encode", images_NHWC, label_N=self._told(label, len(images_NHWC)))

    def decode(
        self,
        latents_NZ: np.ndarray,
        seed: int = 0,
        *,
        label: Label = None,
        sampling: Sampling = MODEL_DISTRIBUTION,
    ) -> np.ndarray:
        """The mean image of each latent, or an image drawn given the latent where the model has no
        closed form of the mean (then `seed` matters)."""
        batched.check_array("latents", latents_NZ, np.float32, (self.model.latent_dimensions,))
        method = "decode_mean" if self.model.has_mean else "decode_sample"
        keys_N = batched.example_keys(seed, max(len(latents_NZ), 1))
        label_N = self._told(label, len(latents_NZ))
        images = self.apply(method, latents_NZ, keys_N, label_N=label_N, sampling=sampling)
        return batched.to_uint8(images)

    def log_prob(
        self,
        images_NHWC: np.ndarray,
        label: Label = None,
        *,
        samples: int = 128,
        seed: int = 0,
    ) -> np.ndarray:
        """log p of each image in nats, (N,); given its class if `label` tells it. It is exact
        without a latent. With one, it is estimated from `samples` importance samples (Burda et al.
        2016), or is the bound with 0 of them; `seed` is theirs. ConfigError for a model without a
        prior."""
        models.require_generative(self.model)
        self._check_images(images_NHWC)
        check_seed(seed)
        if not self.model.has_prior:
            raise ConfigError(
                "this run has no likelihood of images, because its latent has no prior: train one "
                "with config.latent.name=gaussian, for instance"
            )
        if samples < 0 or samples % self.model.orders:
            raise ConfigError(
                f"samples must be 0 or more, and a multiple of the {self.model.orders} scan orders "
                f"of the model, not {samples}"
            )
        count = len(images_NHWC)
        if not count:
            return np.zeros(0)
        size = min(self.config.eval.batch_size, -(-count // 32) * 32)
        evaluator = _evaluator(self.model, size, self.config.devices, self.config.cpu_microbatch)
        label_N = self._told(label, count)
        return -evaluator.nll(self.params, images_NHWC, label_N, seed=seed, samples=samples)

    def log_prob_maps(self, images_NHWC: np.ndarray) -> np.ndarray:
        """log p of each block of pixels given those before it, in each scan order, at the mean
        latent, (N, orders, H, W), nats; see `Sweep.log_prob_maps`.

        Raises ConfigError for a model without this capability.
        """
        action = "has the log-probability of each block of pixels given those before it"
        models.require_capability(self.model, "log_prob_maps", action)
        return self.apply("log_prob_maps", self.encode(images_NHWC), images_NHWC)

    def reconstruct(self, images_NHWC: np.ndarray, label: Label = None) -> np.ndarray:
        """`decode(encode(images))`."""
        return self.decode(self.encode(images_NHWC, label), label=label)

    def interpolate(self, first_HWC: np.ndarray, last_HWC: np.ndarray, steps: int) -> np.ndarray:
        """`steps` images whose latents lie on the line between the latents of two images."""
        ends_2Z = self.encode(np.stack([first_HWC, last_HWC]))
        weight_S1 = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - weight_S1) * ends_2Z[:1] + weight_S1 * ends_2Z[1:])

    def sample(
        self,
        count: int,
        seed: int = 0,
        *,
        label: Label = None,
        temperature: float = 1.0,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """New images, decoded from latents of the prior. The prior of a deterministic latent is the
        mixture that was fitted after training (Ghosh et al. 2020).

        Args:
            count: the number of images.
            seed: the images are a function of it.
            label: the class to draw, or one for each image; None or -1 for any. A model that is
                told no class can draw one if it has a mixture for each class.
            temperature, guidance: see `models.sampling`. Other values than the defaults give images
                of another distribution than the model's. Guidance needs the class of every image.

        Raises:
            ConfigError: there is no such class, or the model can do nothing with the arguments.
            CheckpointError: there is neither a prior nor a mixture.
        """
        models.require_generative(self.model)
        sampling = Sampling(temperature, guidance)
        sampling.check(self.model.classes, self.model.likelihood)
        if guidance and (label is None or -1 in np.ravel(label)):
            raise ConfigError("guidance needs the class of the new images: give their label")
        latents_NZ = self.sample_latents(count, seed, label=label, temperature=temperature)
        told = label if self.model.classes else None  # then the latents alone are of the class
        return self.decode(latents_NZ, seed, label=told, sampling=sampling)

    def sample_latents(
        self, count: int, seed: int = 0, *, label: Label = None, temperature: float = 1.0
    ) -> np.ndarray:
        """New latents from the prior or the mixture, or from the mixture of a class. See `sample`
        for the arguments and errors."""
        check_seed(seed)
        if count < 0:
            raise ConfigError(f"the number of new images must be 0 or more, not {count}")
        label_N = classes.as_array(label, count, self.class_names)
        if label_N is not None and not self.makes_classes:
            raise ConfigError(
                "this run cannot be asked for a class: its model is told none "
                "(config.model.classes=0), and "
                + ("it has a prior" if self.model.has_prior else "it has no mixture for each class")
            )
        # A decoder that draws its pixels has the temperature itself.
        temperature = temperature if self.model.has_mean else 1.0
        if not self.model.latent_dimensions:
            return np.zeros((count, 0), np.float32)
        if self.model.has_prior and (self.model.classes or label_N is None):
            keys_N = batched.example_keys(seed, max(count, 1), stream=1)
            return self.apply("sample_prior", keys_N, last=(temperature,), label_N=label_N)[:count]
        if label_N is not None and self.class_mixture is not None:
            return self.class_mixture.sample(count, seed, label_N, temperature)
        if self.mixture is None:
            raise CheckpointError(
                "this run has no mixture to sample latents from; finish its training, or fit one "
                "now by TrainedRun.with_mixture(images, components=100)"
            )
        return self.mixture.sample(count, seed, temperature=temperature)

    def complete(
        self,
        images_NHWC: np.ndarray,
        mask: np.ndarray,
        seed: int = 0,
        *,
        label: Label = None,
        particles: int = completion.PARTICLES,
    ) -> completion.Completion:
        """The images with the pixels kept where the mask is true, and the others drawn.

        Args:
            images_NHWC: the values of missing pixels do not matter.
            mask: bool (H, W) for all images, or (N, H, W).
            seed: the completions are a function of it. For several completions of an image, repeat
                the image.
            label: the class of each image, for a model that is told it; None if unknown. A mixture
                of a class does not serve: the missing pixels are those of the whole model.
            particles: how many of them complete an image together, if the mask needs them; and how
                many latents are weighed, if there is one. More are more exact, and slower.

        See `evaluation/completion.py` for the method. ConfigError for a model that makes no images,
        for a mask of another shape, and for a label that the model cannot be told.
        """
        models.require_generative(self.model)
        check_seed(seed)
        if particles < 1:
            raise ConfigError(f"particles must be at least 1, not {particles}")
        batched.check_array("images", images_NHWC, np.uint8, self.model.image_shape)
        mask_NHW = completion.check_mask(mask, images_NHWC)
        images_NHWC = images_NHWC * mask_NHW[..., None]
        self._check_images(images_NHWC)
        label_N = self._told(label, len(images_NHWC))
        return completion.complete(self, images_NHWC, mask_NHW, seed, label_N, particles)

    def frames(self, latents_NZ: np.ndarray, label: Label = None) -> tuple[np.ndarray, np.ndarray]:
        """How a model that paints in T steps decodes the latents: mean images, uint8
        (T, N, H, W, C), and where each step wrote, (T, N, 3); see `Draw.frames`.

        Raises ConfigError for a model without this capability.
        """
        models.require_capability(self.model, "frames", "paints its images step by step")
        batched.check_array("latents", latents_NZ, np.float32, (self.model.latent_dimensions,))
        label_N = self._told(label, len(latents_NZ))
        mean, where = _frames(self.model)({"params": self.params}, latents_NZ, label_N)
        return batched.to_uint8(np.asarray(mean)), np.asarray(where)

    def with_mixture(
        self, images_NHWC: np.ndarray, components: int, label_N: np.ndarray | None = None
    ) -> "TrainedRun":
        """This run with a mixture of `components` Gaussians fitted to the latents of the images,
        and with one for each class if `label_N` tells their classes. ConfigError for a model
        without a latent."""
        if not self.model.latent_dimensions:
            raise ConfigError(
                "this model has no latent (config.latent.name=none) to fit a mixture to"
            )
        latents_NZ, seed = self.encode(images_NHWC), self.config.seed
        found = {"mixture": Mixture.fit(latents_NZ, components, seed)}
        if label_N is not None:
            found["class_mixture"] = Mixture.fit_classes(latents_NZ, label_N, components, seed)
        return dataclasses.replace(self, **found)

    def _told(self, label: Label, count: int) -> np.ndarray | None:
        """The label of each image, None for None; ConfigError if the model is told no class."""
        label_N = classes.as_array(label, count, self.class_names)
        if label_N is not None and not self.model.classes:
            raise ConfigError(
                "the model of this run is told no class (config.model.classes=0): leave out the "
                "label"
            )
        return label_N

    def _check_images(self, images_NHWC: np.ndarray) -> None:
        batched.check_array("images", images_NHWC, np.uint8, self.model.image_shape)
        if self.config.data.binarise != "none" and ((images_NHWC > 0) & (images_NHWC < 255)).any():
            raise ConfigError(
                "this run was trained on binary images, 0 and 255, and these are grey: "
                "rnnae.data.binarisation.binarise_once(images, seed) makes binary images of them"
            )

    def apply(self, method: str | Callable, *inputs_N: np.ndarray, **options) -> Any:
        """The results of a method of the model for every example; see `batched.apply`."""
        return batched.apply(
            self.model, self.params, method, inputs_N, most=self.config.devices, **options
        )


@functools.lru_cache(maxsize=8)
def _evaluator(model: nn.Module, size: int, devices: int, cpu_microbatch: int) -> Evaluator:
    config = default()
    config.eval.batch_size, config.cpu_microbatch = size, cpu_microbatch
    devices = min(devices, jax.local_device_count())  # the run may be of a larger machine
    return Evaluator(model, parallel.choose_devices(devices), config)


@functools.lru_cache(maxsize=8)
def _frames(model: nn.Module) -> Callable:
    return jax.jit(functools.partial(model.apply, method="frames"))
