"""`train_step`: one update of the parameters, as a pure function."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn

from rnnae import build, objective, rng, state
from rnnae.data import augmentation as augmentation_lib
from rnnae.data import binarisation
from rnnae.data.augmentation import AUGMENTATIONS, Augmentation
from rnnae.devices import microbatch as microbatch_lib
from rnnae.state import TrainState
from rnnae.types import Batch

_LABEL_STREAM = 0x6C61  # names the random numbers that drop labels


def train_step(
    train_state: TrainState,
    batch: Batch,
    positions_B: jax.Array,
    average: Callable,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    ema_decay: float,
    binarise: str,
    augmentation: Augmentation | None,
    augment_fraction: float,
    label_dropout: float,
    kl_weight: Callable[[jax.Array], jax.Array],
    free_bits: float,
    microbatch: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one device's shard of a batch: (new state, metrics of the step).

    `positions_B` are the positions of the images in the global batch, and `average` is the mean
    over devices (see `parallel.train_call`). A conditional model sees the label of each image
    except in a fraction `label_dropout` of the visits, in which the class is unknown. With an
    `augmentation`, images are transformed in a fraction `augment_fraction` of the visits, and the
    model is told how. At most `microbatch` images go through the model at a time; 0 means all.
    """
    x_BHWC = binarisation.to_unit(batch.image_BHWC)
    step_key = jax.random.fold_in(train_state.key, train_state.step)
    key_B = rng.example_keys(step_key, positions_B)
    pixels_key_B, latent_key_B = rng.split(key_B)
    told = {}
    if model.classes:
        told["label_B"] = drop_labels(batch.label_B, key_B, label_dropout)
    if augmentation is not None:
        told["told_BA"] = augmentation_lib.sample_parameters(augmentation, key_B, augment_fraction)
        x_BHWC = augmentation_lib.transform(augmentation, x_BHWC, told["told_BA"])
    if binarise == "dynamic":
        x_BHWC = binarisation.binarise(x_BHWC, pixels_key_B)
    examples = (x_BHWC, latent_key_B, told)
    weight = kl_weight(train_state.step)

    def terms(params, part):
        x_BHWC, key_B, told = part
        return model.apply({"params": params}, x_BHWC, key_B, **told)

    def mean(function):
        return average(microbatch_lib.mean(function, examples, microbatch))

    # Free bits compare with the KL over the whole batch. That takes one more forward pass, of which
    # the compiler drops whatever only the reconstruction needs.
    mean_kl_TZ = 0.0
    if free_bits:
        mean_kl_TZ = mean(lambda part: jnp.mean(terms(train_state.params, part).kl_BTZ, axis=0))

    def loss(params, part):
        return objective.loss(
            terms(params, part), kl_weight=weight, free_bits=free_bits, mean_kl_TZ=mean_kl_TZ
        )

    gradient = jax.grad(loss, has_aux=True)
    gradients, metrics = mean(lambda part: gradient(train_state.params, part))
    # Muon multiplies matrices; accelerators would round their operands by default.
    with jax.default_matmul_precision("float32"):
        updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
    params = optax.apply_updates(train_state.params, updates)
    metrics["grad_norm"] = optax.global_norm(gradients)
    metrics["learning_rate"] = learning_rate(train_state.step)
    metrics["kl_weight"] = weight
    new_state = train_state.replace(
        step=train_state.step + 1,
        params=params,
        ema=state.ema_update(train_state.ema, params, ema_decay, train_state.step),
        opt_state=opt_state,
    )
    return new_state, metrics


def drop_labels(label_B: jax.Array, key_B: jax.Array, fraction: float) -> jax.Array:
    """The labels, of which each is replaced by -1 (unknown) with probability `fraction`."""
    # `rng.split` gives the other keys of an example, which are not among those of `fold_in`.
    key_B = rng.stream(key_B, _LABEL_STREAM)
    dropped_B = jax.vmap(lambda key: jax.random.bernoulli(key, fraction))(key_B)
    return jnp.where(dropped_B, -1, label_B)


def make_train_step(
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    device: jax.Device,
) -> Callable:
    """The `train_step` of a config, on devices of the same kind as `device`."""
    kl_weight = functools.partial(
        objective.kl_weight,
        beta=config.objective.beta,
        anneal_steps=config.objective.anneal_steps,
    )
    return functools.partial(
        train_step,
        model=build.build_model(config, config.optim.matmul_precision),
        optimizer=optimizer,
        learning_rate=learning_rate,
        ema_decay=config.optim.ema,
        binarise=config.data.binarise,
        augmentation=AUGMENTATIONS[config.data.augment],
        augment_fraction=config.data.augment_fraction,
        label_dropout=config.data.label_dropout,
        kl_weight=kl_weight,
        free_bits=config.objective.free_bits,
        microbatch=microbatch_lib.limit(config.cpu_microbatch, device),
    )
