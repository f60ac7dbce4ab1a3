"""`--mode debug`: which step, which images and which operation made a run not finite.

Training is replayed from the newest checkpoint. It is the same training, because a run continues
exactly, so it ends with the same numbers that are not finite. The step in which they begin is then
repeated image by image, and at last operation by operation.
"""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import rnnae
from rnnae import build, files, state
from rnnae.data import pipeline
from rnnae.devices import parallel
from rnnae.errors import ConfigError, one_line
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import read_starts
from rnnae.state import TrainState
from rnnae.training import initial
from rnnae.training.loop import batches, finite_steps
from rnnae.training.schedule import Schedule
from rnnae.training.step import make_train_step
from rnnae.training.train import agree_on_devices, load_data
from rnnae.types import Batch

_MOST_NAMED = 10  # images
_PACKAGE = Path(rnnae.__file__).parent


def debug(config: ml_collections.ConfigDict, workdir: str | Path) -> int | None:
    """Replays the run in `workdir` from its newest checkpoint, or from its start if it has none, to
    the first step whose loss, gradient or parameters are not finite. Prints the step, the images
    that cause it and the operation, and returns the step; None if all steps are finite. Nothing in
    `workdir` changes. ConfigError if the run started from other weights that are not named."""
    workdir = files.expand(workdir)
    devices = agree_on_devices(config, workdir)
    config, splits = load_data(config, workdir)
    schedule = Schedule.from_config(config, len(splits.train))
    optimizer, learning_rate = build.build_optimizer(config, schedule.total)
    train_step = make_train_step(config, optimizer, learning_rate, devices[0])
    with Checkpoints(workdir, config.to_dict()) as checkpoints:
        if checkpoints.newest() is None:
            _check_start(config, workdir)
        train_state, _, _ = initial.newest_state(config, optimizer, devices, checkpoints, print)
    step = int(train_state.step)
    print(f"replaying {workdir} from step {step:,} of {schedule.total:,}", flush=True)
    call = parallel.train_call(train_step, devices)
    for call_batches in batches(splits, config, schedule, step):
        # A copy, because the call takes the state. Its key never changes, and has no numpy array.
        before = jax.device_get(train_state.replace(key=None))
        train_state, metrics = call(train_state, parallel.shard_batches(call_batches, devices))
        finite = _finite_steps(jax.device_get(metrics), train_state)
        if not finite.all():
            break
        step += len(finite)
        print(f"step {step:,} is finite", flush=True)
    else:
        print("all steps are finite")
        return None
    first = int(np.argmin(finite))
    start = parallel.replicate(before.replace(key=train_state.key), devices)
    if first:  # the steps before it, as one call
        head = jax.tree.map(lambda x: x[:first], call_batches)
        start, _ = call(start, parallel.shard_batches(head, devices))
    values = {name: float(x[first]) for name, x in jax.device_get(metrics).items()}
    print(
        f"step {step + first + 1:,} is the first that is not finite: loss {values['loss']}, "
        f"gradient norm {values['grad_norm']}, learning rate {values['learning_rate']:.3g}"
    )
    start = jax.device_put(start, devices[0])
    batch = jax.tree.map(lambda x: x[first], call_batches)
    indices = pipeline.batch_indices(
        len(splits.train), seed=config.seed, step=step + first, batch_size=schedule.batch_size
    )
    bad = _bad_images(train_step, start, batch)
    _print_images(indices[bad], len(indices))
    print(_find_operation(train_step, start, batch, bad))
    return step + first + 1


def _check_start(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """ConfigError if the run started from weights that `config` does not name. A saved config does
    not name them, because paths are not taken from there."""
    sources = [s["init_from"]["source"] for s in read_starts(workdir) if "init_from" in s]
    if sources and not config.train.init_from:
        raise ConfigError(
            f"the run in {workdir} started from {sources[0]}, and has no checkpoint yet: "
            "name these weights by --init_from"
        )


def _finite_steps(metrics: dict[str, np.ndarray], after: TrainState) -> np.ndarray:
    """Whether each step of a call is finite, (K,). Parameters that are not, after steps with finite
    losses and gradients, count as those of the last step."""
    finite_K = finite_steps(metrics)
    if finite_K.all() and not state.is_finite(after.params):
        finite_K[-1] = False
    return finite_K


def _single(train_step: Callable) -> Callable:
    """The step on one device: (state, batch, positions of its images) -> (state, metrics)."""
    return functools.partial(train_step, average=lambda tree: tree)


def _bad_images(train_step: Callable, start: TrainState, batch: Batch) -> list[int]:
    """The positions of images of the batch that alone give a loss or a gradient that is not
    finite."""
    step = jax.jit(_single(train_step))
    bad = []
    for position in range(len(batch.label_B)):
        image = jax.tree.map(lambda x, i=position: x[i : i + 1], batch)
        _, metrics = step(start, image, jnp.array([position]))
        if not finite_steps(metrics):
            bad.append(position)
    return bad


def _print_images(indices: np.ndarray, count: int) -> None:
    if not len(indices):
        print(f"each of the {count} images of this step alone has a finite loss and gradient")
        return
    named = ", ".join(map(str, indices[:_MOST_NAMED].tolist()))
    more = f" and {len(indices) - _MOST_NAMED} more" if len(indices) > _MOST_NAMED else ""
    print(
        f"{len(indices)} of its {count} images are enough to cause it; their indices in the "
        f"training images: {named}{more}"
    )


def _find_operation(train_step: Callable, start: TrainState, batch: Batch, bad: list[int]) -> str:
    """The first operation whose result is not finite, of one bad image or else of the batch."""
    chosen = bad[:1] or list(range(len(batch.label_B)))
    part = jax.tree.map(lambda x: x[np.array(chosen)], batch)
    # Infinities are looked for only if there is no NaN: a model may use them as values.
    for checks in (jax.debug_nans, jax.debug_infs):
        try:
            with checks(True), jax.disable_jit():
                _single(train_step)(start, part, jnp.array(chosen))
        except FloatingPointError as error:
            return _describe(error)
    return "operation by operation, without compilation, the step is finite"


def _describe(error: FloatingPointError) -> str:
    """The operation and the line of rnnae in which it stands."""
    chain: list[Any] = [error]
    while chain[-1].__cause__ is not None:  # jax adds where a derivative's operation came from
        chain.append(chain[-1].__cause__)
    frames = [
        frame
        for part in chain
        for frame in traceback.extract_tb(part.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    where = ""
    if frames:
        path = Path(frames[-1].filename).relative_to(_PACKAGE.parent)
        where = f", in {path}:{frames[-1].lineno}: {frames[-1].line}"
    return f"operation: {one_line(error)}{where}"
