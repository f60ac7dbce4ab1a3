"""Every image of a split once: the only source of reported numbers.

The protocol is part of a metric's name: `test/nll_dynamic_is128` is the negative log-likelihood in
nats of binarised images, estimated from 128 importance samples each. Draws are a function of the
seed and of an image's position: neither the batch size nor the number of devices changes them.
"""

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rnnae import objective, rng
from rnnae.data import pipeline
from rnnae.devices import microbatch, parallel
from rnnae.errors import ConfigError
from rnnae.evaluation import metrics, trained_run
from rnnae.models import Autoencoder
from rnnae.records import provenance, writer

_CHUNK = 8  # importance samples in one program: a signal waits no longer than for these
ACTIVE = 0.01  # variance over images of a code dimension's mean above which it is active


class Scores(NamedTuple):
    """One pass over a split."""

    per_image: dict[str, np.ndarray]  # float64 (N,)
    kl_T: np.ndarray  # mean KL of each step of the code, nats
    active_units: int  # Burda et al. (2016), section 5.2
    mutual_information: float | None  # nats; see objective.mutual_information


class Report(NamedTuple):
    """What is reported of a split."""

    means: dict[str, float]  # by name
    kl_T: np.ndarray  # mean KL of each step of the code, nats; sums to `kl`


class Evaluator:
    """Measures parameters of `model` on images, by the settings of `config.eval`."""

    def __init__(
        self,
        model: Autoencoder,
        devices: Sequence[jax.Device],
        config: ml_collections.ConfigDict,
    ):
        self.model, self._count = model, len(devices)
        self._binarise, self._eval = config.data.binarise, config.eval
        self._size = -(-config.eval.batch_size // self._count) * self._count
        limit = microbatch.limit(config.cpu_microbatch, devices[0])
        self._pass = parallel.map_examples(functools.partial(_per_image, model, limit), devices)
        self._weigh = parallel.map_examples(functools.partial(_add_weights, model, limit), devices)
        self._information = jax.jit(functools.partial(_information, model))

    def __call__(
        self,
        params: Any,
        images: pipeline.Source,
        *,
        weighted: bool = False,
        between: Callable[[], None] = lambda: None,
    ) -> Report:
        """Means over the split, and over `config.eval.seeds` if `weighted` (else the first only).

        `loss` is the bound, or the exact negative log-likelihood of a model without a code; MSE,
        MAE and SSIM are of the free-running reconstruction of the mean code, in units of [0, 1];
        `weighted` adds the importance-weighted estimate with its standard error over images.
        `between` is called before each program, and may raise to give up.
        """
        seeds = self._eval.seeds if weighted else self._eval.seeds[:1]
        samples = self._eval.importance_samples if weighted else 0
        all_scores = [
            self.scores(
                params,
                pipeline.held_out(images, self._binarise, seed),
                seed=seed,
                samples=samples,
                between=between,
            )
            for seed in seeds
        ]
        protocol = pipeline.protocol(images, self._binarise)
        kl_T = np.mean([scores.kl_T for scores in all_scores], axis=0)
        return Report(self._named(all_scores, seeds, protocol, samples), kl_T)

    def scores(
        self,
        params: Any,
        images: pipeline.Source,
        *,
        seed: int = 0,
        samples: int = 0,
        between: Callable[[], None] = lambda: None,
    ) -> Scores:
        """Scores of images as they are, with `samples` importance samples (0: none)."""
        parts, kls, first, second = [], [], 0.0, 0.0
        variational = self.model.latent.variational
        for image_BHWC, position_B in pipeline.padded_batches(images, self._size):
            between()
            mask_B = position_B < len(images)
            part = self._pass((params, np.int32(seed)), (image_BHWC, position_B))
            code_BZ = part.pop("code")[mask_B].astype(np.float64)
            first, second = first + code_BZ.sum(axis=0), second + (code_BZ**2).sum(axis=0)
            kls.append(part.pop("kl_by_step")[mask_B])
            if samples and variational:
                total_B = np.full(self._size, -np.inf, np.float32)
                for start in range(0, samples, _CHUNK):
                    between()
                    ks = np.arange(start, start + _CHUNK, dtype=np.int32)
                    shared = (params, np.int32(seed), ks, np.int32(samples))
                    total_B = self._weigh(shared, (image_BHWC, position_B, total_B))
                part["nll"] = math.log(samples) - total_B
            parts.append({name: value_B[mask_B] for name, value_B in part.items()})
        per_image = {
            name: np.concatenate([part[name] for part in parts]).astype(np.float64)
            for name in parts[0]
        }
        with np.errstate(invalid="ignore"):  # whoever records the loss refuses what is not finite
            variance = second / len(images) - (first / len(images)) ** 2
        information = None
        if variational and self._eval.information_images:
            between()
            few = images[np.arange(min(len(images), self._eval.information_images))]
            information = float(self._information(params, few, seed))
        kl_T = np.concatenate(kls).mean(axis=0, dtype=np.float64)
        return Scores(per_image, kl_T, int((variance > ACTIVE).sum()), information)

    def _named(
        self, all_scores: list[Scores], seeds: Sequence[int], protocol: str, samples: int
    ) -> dict[str, float]:
        """The reported metrics: means over images and seeds, by names that say the protocol."""
        names = dict.fromkeys(all_scores[0].per_image)
        values = {  # by image, the mean over seeds
            name: np.mean([scores.per_image[name] for scores in all_scores], axis=0)
            for name in names
        }
        named = {name: float(v.mean()) for name, v in values.items() if name != "nll"}
        if not self.model.has_prior:
            return named
        exact = not self.model.latent_dimensions
        reported = {f"nll_{protocol}" if exact else f"bound_{protocol}": "loss"}
        if "nll" in values:
            reported[f"nll_{protocol}_is{samples}"] = "nll"
        for name, key in reported.items():
            named[name] = float(values[key].mean())
            count = len(values[key])
            if count > 1:
                named[f"{name}_se"] = float(values[key].std(ddof=1) / math.sqrt(count))
            if len(seeds) > 1:
                for seed, scores in zip(seeds, all_scores, strict=True):
                    named[f"{name}_seed{seed}"] = float(scores.per_image[key].mean())
            if protocol == "8bit" and self.model.likelihood.discrete:
                dimensions = math.prod(self.model.image_shape)
                bits = name.replace("bound", "bits_per_dim").replace("nll", "bits_per_dim")
                named[bits] = objective.bits_per_dim(named[name], dimensions)
                if count > 1:
                    named[f"{bits}_se"] = objective.bits_per_dim(named[f"{name}_se"], dimensions)
        if exact:
            return named
        named["active_units"] = float(np.mean([s.active_units for s in all_scores]))
        if all_scores[0].mutual_information is not None:
            named["mutual_information"] = float(np.mean([s.mutual_information for s in all_scores]))
        return named


def _keys(seed: jax.Array, position_B: jax.Array) -> jax.Array:
    return rng.of_positions(jax.random.key(seed), position_B)


def _per_image(model: Autoencoder, limit: int, shared, examples) -> dict[str, jax.Array]:
    (params, seed), (image_BHWC, position_B) = shared, examples
    apply = functools.partial(model.apply, {"params": params})
    x_BHWC, key_B = pipeline.to_unit(image_BHWC), _keys(seed, position_B)

    def measured(part):  # together: what both read of an image is computed once
        return apply(*part), apply(part[0], method="encode")

    terms, code_BZ = microbatch.each(measured, (x_BHWC, key_B), limit)
    values = {
        **objective.per_example(terms),
        "code": code_BZ,
        "kl_by_step": jnp.sum(terms.kl_BTZ, axis=2),
    }
    if model.latent_dimensions:
        decode = "decode_mean" if model.has_mean else "decode_sample"
        reconstruction_BHWC = apply(code_BZ, key_B, method=decode)
        for error in (metrics.mse, metrics.mae, metrics.ssim):
            values[error.__name__] = error(x_BHWC, reconstruction_BHWC)
    return values


def _add_weights(model: Autoencoder, limit: int, shared, examples) -> jax.Array:
    """`total_B` with the weights of draws `ks` added: one chunk of the importance-weighted sum."""
    (params, seed, ks, samples), (image_BHWC, position_B, total_B) = shared, examples
    apply = functools.partial(model.apply, {"params": params})

    def add(part):
        x_BHWC, key_B, total_B = part
        posterior = apply(x_BHWC, method="posterior")

        def log_weight(k):
            # Draw k + 1: draw 0 is the bound's, so that the two are independent.
            draw_B = jax.vmap(jax.random.fold_in, in_axes=(0, None))(key_B, k + 1)
            terms = apply(posterior, x_BHWC, draw_B, method="terms")
            return terms.log_prob_B + terms.log_ratio_B

        return objective.add_importance_weights(total_B, log_weight, ks, samples)

    examples = (pipeline.to_unit(image_BHWC), _keys(seed, position_B), total_B)
    return microbatch.each(add, examples, limit)


def _information(model: Autoencoder, params, image_SHWC, seed) -> jax.Array:
    apply = functools.partial(model.apply, {"params": params})
    count = image_SHWC.shape[0]
    posterior = apply(pipeline.to_unit(image_SHWC), method="posterior")
    z_SZ = apply(posterior, _keys(seed, jnp.arange(count)), method="sample_posterior")

    def log_posterior(shift):
        shifted = jax.tree.map(lambda x: jnp.roll(x, -shift, axis=0), posterior)
        return apply(shifted, z_SZ, method="log_posterior")

    return objective.mutual_information(log_posterior, count)


def check_protocol(model: Autoencoder, images: pipeline.Source, binarise: str) -> None:
    """ConfigError where the likelihood is not one of such images."""
    protocol = pipeline.protocol(images, binarise)
    name = type(model.likelihood).__name__
    if model.likelihood.binary and protocol == "8bit":
        raise ConfigError(
            f"a {name} likelihood is of binary images, and these are grey: set "
            "config.data.binarise=dynamic, use a binary data set, or another config.likelihood.name"
        )


def main(config: ml_collections.ConfigDict, workdir: str | Path) -> dict[str, float]:
    """`--mode evaluate`: validation and test split of a trained run, printed and kept in
    `workdir`/evaluation.json, there with the KL of each step of a code drawn in several, the
    settings, the step of the weights, and where and with what it was made."""
    run, splits = trained_run.load_with_splits(config, workdir)
    check_protocol(run.model, splits.test, config.data.binarise)
    devices = parallel.choose_devices(config.devices)
    evaluator = Evaluator(run.model, devices, config)
    settings = config.eval.to_dict()
    where = provenance.describe(devices)
    result = {"environment": where, "eval": settings, "step": run.step}
    for split in config.eval.splits:
        if split == "valid" and config.data.train_on_all:
            print("valid: none, the run was trained on these images too")
            continue
        images = getattr(splits, split)
        means, kl_T = evaluator(run.params, images, weighted=True)
        print(f"{split} ({len(images):,} images, weights of step {run.step:,}): {line(means)}")
        result |= {f"{split}/{name}": value for name, value in means.items()}
        if len(kl_T) > 1:
            result[f"{split}/kl_by_step"] = kl_T.tolist()
    # At the end: what was kept of an evaluation before is lost to no half of another.
    writer.replace_text(Path(workdir) / "evaluation.json", json.dumps(result, indent=2) + "\n")
    return result


def line(means: dict[str, float]) -> str:
    """What a person wants of a split's means: nats and bits first where there are any, as
    `nll_dynamic_is128 85.12 ± 0.23  kl 24.7`, then `MSE 0.00312  MAE 0.0171  SSIM 0.973`."""
    words = []
    for name, value in means.items():
        if f"{name}_se" in means:
            digits = 4 if name.startswith("bits_per_dim") else 2
            words.append(f"{name} {value:.{digits}f} ± {means[f'{name}_se']:.{digits}f}")
    if "active_units" in means:
        words.append(f"KL {means['kl']:.2f}  active units {means['active_units']:g}")
    if "mutual_information" in means:
        words.append(f"mutual information {means['mutual_information']:.2f}")
    words = words or [f"loss {means['loss']:.4f}"]
    if "mse" not in means:
        return "  ".join(words)
    errors = f"MSE {means['mse']:.5f}  MAE {means['mae']:.5f}  SSIM {means['ssim']:.4f}"
    return "  ".join([*words, errors] if len(words) > 1 else [errors, *words])
