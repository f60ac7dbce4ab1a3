"""`Evaluator`: the metrics of a split, with each image counted once.

All reported numbers come from here. Metric names include the protocol: `test/nll_dynamic_is128` is
the negative log-likelihood in nats of dynamically binarised images, estimated from 128 importance
samples each. Random numbers are a function of the seed and the position of an image, so neither the
batch size nor the number of devices changes a result.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from rnnae import objective
from rnnae.data import binarisation, pipeline
from rnnae.data.images import ImageArray
from rnnae.devices import microbatch, parallel, signals
from rnnae.errors import ConfigError
from rnnae.evaluation import per_image
from rnnae.evaluation.metrics import (
    CLASS_METRICS,
    IMAGE_METRICS,
    SPLIT_METRICS,
    Measured,
    class_metrics,
)
from rnnae.models import Autoencoder

_CHUNK = 8  # importance samples in one program, after which a signal is noticed


class Scores(NamedTuple):
    """One pass over a split."""

    per_image: dict[str, np.ndarray]  # float64 (N,)
    kl_T: np.ndarray  # mean KL of each step of the latent, nats
    split_metrics: dict[str, float]  # by name of SPLIT_METRICS


class Examples(NamedTuple):
    """A batch of images."""

    image_BHWC: np.ndarray
    position_B: np.ndarray  # in the split; the length of the split or more where it is padding
    label_B: np.ndarray


class Report(NamedTuple):
    """What is reported of a split."""

    means: dict[str, float]  # by metric name
    kl_T: np.ndarray  # mean KL of each step of the latent, nats; its sum is `kl`
    by_seed: dict[int, dict[str, np.ndarray]]  # seed -> metric name -> value of each image, (N,)


class Evaluator:
    """Measures parameters of `model` on images, with the settings of `config.eval`."""

    def __init__(
        self,
        model: Autoencoder,
        devices: Sequence[jax.Device],
        config: ml_collections.ConfigDict,
    ):
        self.model = model
        self._binarise, self._eval = config.data.binarise, config.eval
        self._size = -(-config.eval.batch_size // len(devices)) * len(devices)
        limit = microbatch.limit(config.cpu_microbatch, devices[0])

        def on_devices(function):
            return parallel.map_examples(functools.partial(function, model, limit), devices)

        self._pass = on_devices(per_image.scores)
        self._loss = on_devices(per_image.loss)
        self._add_weights = on_devices(per_image.add_weights)

    def __call__(
        self,
        params: Any,
        images: ImageArray,
        label_N: np.ndarray | None = None,
        *,
        full: bool = False,
    ) -> Report:
        """The metrics of a split. A conditional model is given the labels of its images.

        `loss` is the negative ELBO, or the exact negative log-likelihood of a model without a
        latent, in nats. The image metrics compare an image in [0, 1] with the one that is decoded
        from its mean latent, without the true pixels: the mean image, or a sample if the mean has
        no closed form. `full` averages over all of `config.eval.seeds` instead of the first only,
        and adds the importance-weighted estimate with its standard error over images. For a
        conditional model it also adds the likelihood of the image alone, and the accuracy of Bayes'
        rule (`class_metrics`). Of a classifier there are only `loss`, the cross-entropy in nats,
        and `accuracy` with its standard error.
        """
        seeds = self._eval.seeds if full else self._eval.seeds[:1]
        samples = self._eval.importance_samples if full else 0
        all_scores = []
        for seed in seeds:
            held_out = binarisation.evaluation_images(images, self._binarise, seed)
            scores = self.scores(params, held_out, label_N, seed=seed, samples=samples)
            if full and self.model.classes and self.model.generative and self.model.has_prior:
                scores.per_image.update(self._by_class(params, held_out, label_N, seed, samples))
            all_scores.append(scores)
        protocol = binarisation.protocol(images, self._binarise)
        kl_T = np.mean([scores.kl_T for scores in all_scores], axis=0)
        by_seed = {
            seed: self._of_each_image(scores.per_image, protocol, samples)
            for seed, scores in zip(seeds, all_scores, strict=True)
        }
        return Report(self._named(all_scores, seeds, protocol, samples), kl_T, by_seed)

    def scores(
        self,
        params: Any,
        images: ImageArray,
        label_N: np.ndarray | None = None,
        *,
        seed: int = 0,
        samples: int = 0,
    ) -> Scores:
        """Scores of images without further binarisation, with `samples` importance samples
        (0: none)."""
        values = self._per_image(params, images, label_N, seed, samples)
        latent_NZ, kl_NT = values.pop("latent"), values.pop("kl_by_step")
        split_metrics = {}
        if self.model.latent.variational:
            measured = Measured(self.model, params, images, latent_NZ, seed, self._eval)
            for name, metric in SPLIT_METRICS.items():
                signals.check("during an evaluation")
                split_metrics[name] = metric.function(measured)
        found = {name: value for name, value in split_metrics.items() if value is not None}
        return Scores(values, kl_NT.mean(axis=0), found)

    def nll(
        self,
        params: Any,
        images: ImageArray,
        label_N: np.ndarray | None = None,
        *,
        seed: int = 0,
        samples: int = 0,
    ) -> np.ndarray:
        """The negative log-likelihood of each image, (N,), nats: exact without a latent, else from
        importance samples, or the negative bound with 0 of them."""

        def measure(examples):
            if samples and self.model.latent.variational:
                return {"nll": self._estimate(params, examples, seed, samples)}
            return {"nll": self._loss((params, np.int32(seed)), examples)}

        return self._over_images(images, label_N, measure)["nll"]

    def _estimate(self, params: Any, examples: Examples, seed: int, samples: int) -> np.ndarray:
        """The negative log-likelihoods of a batch from importance samples, (B,)."""
        total_B = np.full(self._size, -np.inf, np.float32)
        for start in range(0, samples, _CHUNK):
            signals.check("during an evaluation")
            ks = np.arange(start, start + _CHUNK, dtype=np.int32)
            shared = (params, np.int32(seed), ks, np.int32(samples))
            total_B = self._add_weights(shared, (*examples, total_B))
        return math.log(samples) - total_B

    def _per_image(
        self, params: Any, images: ImageArray, label_N: np.ndarray | None, seed: int, samples: int
    ) -> dict[str, np.ndarray]:
        """float64 (N, ...) of every image given its label; `nll` needs importance samples."""

        def measure(examples):
            part = self._pass((params, np.int32(seed)), examples)
            if samples and self.model.latent.variational:
                part["nll"] = self._estimate(params, examples, seed, samples)
            return part

        return self._over_images(images, label_N, measure)

    def _over_images(
        self,
        images: ImageArray,
        label_N: np.ndarray | None,
        measure: Callable[[Examples], dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """What `measure` gives for each batch, float64 (N, ...), without that of the padding."""
        parts = []
        for examples in self._batches(images, label_N):
            mask_B = examples.position_B < len(images)
            parts.append({name: value_B[mask_B] for name, value_B in measure(examples).items()})
        return {
            name: np.concatenate([part[name] for part in parts]).astype(np.float64)
            for name in parts[0]
        }

    def _batches(self, images: ImageArray, label_N: np.ndarray | None) -> Iterator[Examples]:
        """All images in batches of the same size; padding is black images with the last label."""
        if label_N is None:
            label_N = np.full(len(images), -1, np.int32)
        for image_BHWC, position_B in pipeline.padded_batches(images, self._size):
            signals.check("during an evaluation")
            label_B = label_N[np.minimum(position_B, len(images) - 1)]
            yield Examples(image_BHWC, position_B, label_B)

    def _by_class(
        self, params: Any, images: ImageArray, label_N: np.ndarray, seed: int, samples: int
    ) -> dict[str, np.ndarray]:
        """`class_metrics` of each image: from exact negative log-likelihoods, from the estimates
        with importance samples, or from the bounds if there are none."""
        nll_by_label = {}
        for label in (-1, *range(self.model.classes)):
            given_N = np.full(len(images), label, np.int32)
            nll_by_label[label] = self.nll(params, images, given_N, seed=seed, samples=samples)
        unlabelled_N = nll_by_label.pop(-1)
        return class_metrics(np.stack([*nll_by_label.values()], axis=1), unlabelled_N, label_N)

    def _named(
        self, all_scores: list[Scores], seeds: Sequence[int], protocol: str, samples: int
    ) -> dict[str, float]:
        """The reported metrics: means over images and seeds, under names with the protocol."""
        values = {  # by image, the mean over seeds
            name: np.mean([scores.per_image[name] for scores in all_scores], axis=0)
            for name in all_scores[0].per_image
        }
        unnamed = ("nll", *CLASS_METRICS, *self._order_metrics)
        named = {name: float(v.mean()) for name, v in values.items() if name not in unnamed}
        if not self.model.has_prior:
            return named
        for name, key in self._reported(values, protocol, samples).items():
            named[name] = float(values[key].mean())
            count = len(values[key])
            if count > 1:
                named[f"{name}_se"] = float(values[key].std(ddof=1) / math.sqrt(count))
            if len(seeds) > 1:
                for seed, scores in zip(seeds, all_scores, strict=True):
                    named[f"{name}_seed{seed}"] = float(scores.per_image[key].mean())
            in_bits = protocol == "8bit" and self.model.likelihood.discrete
            if in_bits and not key.endswith("accuracy"):
                dimensions = math.prod(self.model.image_shape)
                bits = name.replace("bound", "bits_per_dim").replace("nll", "bits_per_dim")
                named[bits] = objective.bits_per_dim(named[name], dimensions)
                if count > 1:
                    named[f"{bits}_se"] = objective.bits_per_dim(named[f"{name}_se"], dimensions)
        for name in all_scores[0].split_metrics:
            named[name] = float(np.mean([scores.split_metrics[name] for scores in all_scores]))
        return named

    def _of_each_image(
        self, values: dict[str, np.ndarray], protocol: str, samples: int
    ) -> dict[str, np.ndarray]:
        """The metrics of each image under the names under which their means are reported."""
        keys = self._reported(values, protocol, samples) if self.model.has_prior else {}
        keys |= {} if "loss" in keys.values() else {"loss": "loss"}
        keys |= {"kl": "kl"} if self.model.latent.variational else {}
        keys |= {name: name for name in IMAGE_METRICS if name in values}
        return {name: values[key] for name, key in keys.items()}

    @property
    def _order_metrics(self) -> list[str]:
        return [f"nll_order{order}" for order in range(self.model.orders)]

    def _reported(self, values, protocol: str, samples: int) -> dict[str, str]:
        """Reported name -> key of `values`, for everything that has a standard error.

        Of a conditional model, `nll` is that of the image alone, and the numbers that know the
        class have `given_class` in their name.
        """
        if not self.model.generative:
            return {"accuracy": "accuracy"}
        estimate = f"{protocol}_is{samples}" if "nll" in values else protocol
        given = "_given_class" if self.model.classes else ""
        exact = not self.model.latent_dimensions
        reported = {f"{'nll' if exact else 'bound'}{given}_{protocol}": "loss"}
        if "nll" in values:
            reported[f"nll{given}_{estimate}"] = "nll"
        for name in self._order_metrics:
            if name in values:
                reported[f"{name}{given}_{protocol}"] = name
        if "nll_alone" in values:
            kind = "nll" if exact or "nll" in values else "bound"
            reported[f"{kind}_{estimate}"] = "nll_alone"
            reported[f"{kind}_unlabelled_{estimate}"] = "nll_unlabelled"
            reported[f"bayes_accuracy_{estimate}"] = "bayes_accuracy"
        return reported


def check_protocol(model: Autoencoder, images: ImageArray, binarise: str) -> None:
    """ConfigError if the likelihood is one of binary images and the images are grey."""
    if model.likelihood.binary and binarisation.protocol(images, binarise) == "8bit":
        raise ConfigError(
            f"the likelihood {type(model.likelihood).__name__} is for binary images, and these are "
            "grey: set config.data.binarise=dynamic, use a binary data set, or another "
            "config.likelihood.name"
        )
