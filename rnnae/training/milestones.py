"""What a run does besides updates: describe itself, save, validate, and finish with its test."""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from flax import linen as nn

from rnnae import files, state
from rnnae.data import pipeline
from rnnae.devices import distributed, signals
from rnnae.errors import TRAIN_ANEW, NonFiniteError, one_line
from rnnae.evaluation import figures, flops, mixture
from rnnae.evaluation.evaluate import Evaluator, format_metrics
from rnnae.records import provenance
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.schedule import Schedule

# Mixture of Gaussians behind the new images in the figures of a run that is not finished.
_PREVIEW = figures.MixtureSize(images=2000, components=10)


class TrainingRun(NamedTuple):
    """Everything that belongs to a run in training, except its state."""

    config: ml_collections.ConfigDict  # resolved
    workdir: Path
    schedule: Schedule
    splits: pipeline.Splits
    evaluator: Evaluator
    writer: Writer
    checkpoints: Checkpoints
    log: Callable[[str], None]


def describe(run: TrainingRun, train_state: TrainState, devices: Sequence[jax.Device]) -> None:
    """Writes the table of parameters to summary.txt, prints their number, and records where and
    with what the run starts."""
    if not distributed.is_primary():
        return
    model, params = run.evaluator.model, train_state.params

    def size(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    image, key = np.zeros((1, *model.image_shape), np.float32), jax.random.key(0)
    plain = {"width": 120, "force_terminal": False}  # no colours in a file
    table = nn.tabulate(model, key, console_kwargs=plain)(image, key[None])
    path = run.workdir / files.SUMMARY
    with files.writing("record", path):
        files.replace_text(path, table)
    parts = ", ".join(f"{name} {size(part):,}" for name, part in sorted(params.items()))
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    run.log(f"{size(params):,} parameters ({parts}) on {len(devices)} x {kinds}")
    step = int(train_state.step)
    about = provenance.describe(devices) | {
        "parameters": size(params),
        "training_flop_per_image": flops.training(model),
        "tested": is_tested(run.writer, step),
        "total_steps": run.schedule.total,
    }
    run.writer.write_start(step, about)


def save(run: TrainingRun, step: int, train_state: TrainState) -> None:
    """Flushes the records and saves a checkpoint.

    Raises NonFiniteError for parameters that are not finite. A loss is computed before its update,
    so it cannot show that the newest parameters are not finite.
    """
    if not state.is_finite(train_state.params):
        raise NonFiniteError(
            f"the parameters are not finite after step {step}, which was not saved; {TRAIN_ANEW}"
        )
    run.writer.sync()
    run.checkpoints.save("latest", step, train_state)


def validate(run: TrainingRun, step: int, train_state: TrainState) -> None:
    """Measures the validation images, saves the best checkpoint, records, and draws figures.

    The record comes after the checkpoint. So an interrupted validation leaves no record, and the
    continued run repeats it. If the record is there, this function does nothing.
    """
    done = {r["step"]: r["valid/loss"] for r in run.writer.metrics() if "valid/loss" in r}
    if distributed.on_primary(lambda: step in done):
        return
    means = run.evaluator(train_state.ema, run.splits.valid).means
    if distributed.on_primary(lambda: means["loss"] < min(done.values(), default=math.inf)):
        run.writer.sync()
        run.checkpoints.save("best", step, train_state)
    _record(run, "valid", step, means)
    # Everything is recorded and saved, so a signal need not wait for the figures, which take time.
    signals.check(f"after the validation at step {step}")
    if distributed.is_primary():
        try:
            _write_figures(run, step, train_state, _PREVIEW)
        except OSError as error:
            directory = run.workdir / files.FIGURES
            run.log(
                f"no figures of step {step} in {directory}: {error.strerror or one_line(error)}"
            )


def finish(run: TrainingRun, step: int, train_state: TrainState) -> dict[str, float]:
    """Test metrics of the averaged weights, the mixture over the latents, and the last figures.

    Test metrics that were recorded before are returned and not measured again.
    """
    result = distributed.on_primary(lambda: _test_metrics(run.writer, step))
    last = run.workdir / files.FIGURES / files.LAST_FIGURE
    if result:
        means = {name.removeprefix("test/"): value for name, value in result.items()}
        run.log(f"already trained; test: {format_metrics(means)}")
    else:
        means = run.evaluator(train_state.ema, run.splits.test, full=True).means
        result = {f"test/{name}": value for name, value in means.items()}
        if distributed.is_primary():
            with contextlib.suppress(NotADirectoryError):
                last.unlink(missing_ok=True)  # marks the last figures as not drawn yet
        _record(run, "test", step, means)
    if distributed.is_primary() and not (
        last.exists() and _mixture_is_there(run, step, train_state)
    ):
        if not run.evaluator.model.has_prior:
            run.log("fitting a mixture of Gaussians to the latents of the training images")
        components = run.config.eval.mixture_components
        size = figures.MixtureSize(figures.MIXTURE_IMAGES, components)
        with files.writing("figures", last.parent):
            _write_figures(run, step, train_state, size, mixture_path=run.workdir / files.MIXTURE)
        run.log(f"figures in {last.parent}")
    distributed.wait_for_all()  # a process that exited early would look as if it had been lost
    return result


def is_tested(writer: Writer, step: int) -> bool:
    """Whether the test metrics after `step` steps were recorded."""
    return bool(_test_metrics(writer, step))


def _test_metrics(writer: Writer, step: int) -> dict[str, float] | None:
    """The test metrics that were recorded after `step` steps, if they were."""
    records = [r for r in writer.metrics() if r["step"] == step and "test/loss" in r]
    return {k: v for k, v in records[0].items() if k.startswith("test/")} if records else None


def _mixture_is_there(run: TrainingRun, step: int, train_state: TrainState) -> bool:
    """Whether the mixture of these weights is on disk, or none is needed."""
    if run.evaluator.model.has_prior:
        return True
    weights = mixture.digest(jax.device_get(train_state.ema))
    return mixture.Mixture.load(run.workdir / files.MIXTURE, step, weights) is not None


def _record(run: TrainingRun, split: str, step: int, means: dict[str, float]) -> None:
    epoch = run.schedule.epoch(step)
    run.writer.write_metrics(step, epoch, {f"{split}/{name}": v for name, v in means.items()})
    count = len(getattr(run.splits, split))
    run.log(f"epoch {epoch:.3g}  {split} ({count:,} images): {format_metrics(means)}")


def _write_figures(
    run: TrainingRun,
    step: int,
    train_state: TrainState,
    size: figures.MixtureSize,
    mixture_path: Path | None = None,
) -> None:
    figures.write_training_figures(
        run.evaluator.model,
        jax.device_get(train_state.ema),
        run.config,
        step,
        run.splits,
        run.writer.metrics(),
        run.workdir / files.FIGURES,
        size,
        mixture_path,
    )
