"""The state that a run begins with: of its newest checkpoint, of other weights, or random."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import traverse_util

from rnnae import build, state
from rnnae.devices import parallel
from rnnae.errors import ConfigError
from rnnae.evaluation import loading
from rnnae.evaluation.mixture import digest
from rnnae.records import weights
from rnnae.records.checkpoint import Checkpoints
from rnnae.state import TrainState

_MOST_NAMES = 5  # in a line


def newest_state(
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device],
    checkpoints: Checkpoints,
    log: Callable[[str], None],
    repair: bool = False,
) -> tuple[TrainState, bool, dict[str, object]]:
    """(state, whether it is that of a checkpoint, record of `start_from`), with a copy of the state
    on every device. `repair` is that of `Checkpoints.restore`."""
    model = build.build_model(config)
    fresh = state.create(model, optimizer, model.image_shape, config.seed)
    fresh = parallel.replicate(fresh, devices)
    restored = checkpoints.restore(fresh, repair=repair)
    if restored is not None:
        return restored, True, {}
    if not config.train.init_from:
        return fresh, False, {}
    started, record = start_from(fresh, config.train.init_from, log)
    return parallel.replicate(started, devices), False, record


def start_from(
    train_state: TrainState, source: str, log: Callable[[str], None]
) -> tuple[TrainState, dict[str, object]]:
    """(state, record): the state with those parameters of a trained run or of weights (see
    `loading.load`) that have the same names and shapes; averages start from them, too. The record
    says which weights they were. `log` gets a line about what was taken. ConfigError if nothing
    fits."""
    run = loading.load(source)
    other = weights.by_name(run.params)
    own = weights.by_name(train_state.params)
    taken = {name for name in own if name in other and own[name].shape == other[name].shape}
    if not taken:
        raise ConfigError(
            f"--init_from={source} has no array with the name and the shape of one of this model"
        )
    params = {name: np.asarray(other[name]) if name in taken else own[name] for name in own}
    log(
        f"starting from {source}: {len(taken)} of {len(own)} arrays taken"
        + _named("; new here", own.keys() - taken)
        + _named("; not taken", other.keys() - taken)
    )
    params = traverse_util.unflatten_dict(params, sep="/")
    params = jax.tree.map(jnp.asarray, params)
    record = {"source": source, "step": run.step, "sha256": digest(run.params)}
    record |= {"arrays_taken": len(taken), "arrays": len(own)}
    return train_state.replace(params=params, ema=jax.tree.map(jnp.copy, params)), record


def _named(words: str, names: set[str]) -> str:
    if not names:
        return ""
    some = ", ".join(sorted(names)[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{words}: {some}{more}"
