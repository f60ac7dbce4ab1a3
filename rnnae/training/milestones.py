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
from rnnae.data.splits import Splits
from rnnae.devices import distributed, signals
from rnnae.errors import TRAIN_ANEW, NonFiniteError, one_line
from rnnae.evaluation import columns, figures, flops, sample_report
from rnnae.evaluation.evaluate import Evaluator, Report
from rnnae.evaluation.loading import with_saved_mixtures
from rnnae.evaluation.metrics import format_metrics
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.records import provenance
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.schedule import Schedule

_LIKELIHOODS = ("nll", "bound", "bits_per_dim")  # beginnings of the names of reported metrics
# Mixture of Gaussians behind the new images in the figures of a run that is not finished.
_PREVIEW = figures.MixtureSize(images=2000, components=10, by_class=False)


class TrainingRun(NamedTuple):
    """Everything that belongs to a run in training, except its state."""

    config: ml_collections.ConfigDict  # resolved
    workdir: Path
    schedule: Schedule
    splits: Splits
    evaluator: Evaluator
    writer: Writer
    checkpoints: Checkpoints
    log: Callable[[str], None]


def describe(
    run: TrainingRun,
    train_state: TrainState,
    devices: Sequence[jax.Device],
    record: dict[str, object],
) -> None:
    """Writes the table of parameters to summary.txt, prints their number, and records where and
    with what the run starts, and whatever else is in `record`."""
    if not distributed.is_primary():
        return
    model, params = run.evaluator.model, train_state.params

    image, key = np.zeros((1, *model.image_shape), np.float32), jax.random.key(0)
    plain = {"width": 120, "force_terminal": False}  # no colours in a file
    table = nn.tabulate(model, key, console_kwargs=plain)(image, key[None])
    path = run.workdir / files.SUMMARY
    with files.writing("record", path):
        files.replace_text(path, table)
    parts = ", ".join(f"{name} {state.count(part):,}" for name, part in sorted(params.items()))
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    run.log(f"{state.count(params):,} parameters ({parts}) on {len(devices)} x {kinds}")
    step = int(train_state.step)
    about = provenance.describe(devices) | {
        "parameters": state.count(params),
        "training_flop_per_image": flops.training(model),
        "tested": is_tested(run.writer, step),
        "total_steps": run.schedule.total,
        **record,
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
    means = _measure(run, train_state, "valid").means
    if distributed.on_primary(lambda: means["loss"] < min(done.values(), default=math.inf)):
        run.writer.sync()
        run.checkpoints.save("best", step, train_state)
    _record(run, step, {f"valid/{name}": value for name, value in means.items()})
    # Everything is recorded and saved, so a signal need not wait for the figures, which take time.
    signals.check(f"after the validation at step {step}")
    if distributed.is_primary():
        try:
            trained = figures.with_prior(_trained(run, step, train_state), run.splits, _PREVIEW)
            _write_figures(run, trained)
        except OSError as error:
            directory = run.workdir / files.FIGURES
            run.log(
                f"no figures of step {step} in {directory}: {error.strerror or one_line(error)}"
            )


def finish(run: TrainingRun, step: int, train_state: TrainState) -> dict[str, float]:
    """Test metrics of the averaged weights, the mixture over the latents, and the last figures.

    With `config.eval.samples`, the test metrics include those of new images (`sample_report`), for
    which the mixture is fitted first. Test metrics that were recorded before are returned and not
    measured again.
    """
    result = distributed.on_primary(lambda: _test_metrics(run.writer, step))
    last = run.workdir / files.FIGURES / files.LAST_FIGURE
    if result:
        means = {name.removeprefix("test/"): value for name, value in result.items()}
        run.log(f"already trained; test: {format_metrics(means)}")
    else:
        reports = _final_reports(run, train_state)
        trained_on, means = _likelihoods_of_training(reports), reports["test"].means
        if run.config.eval.samples:
            means |= distributed.on_primary(lambda: _measure_new_images(run, step, train_state))
        tested = {f"test/{name}": value for name, value in means.items()}
        if distributed.is_primary():
            with contextlib.suppress(NotADirectoryError):
                last.unlink(missing_ok=True)  # marks the last figures as not drawn yet
            _write_scores(run, reports)
        _record(run, step, trained_on | tested)
        result = tested
    if distributed.is_primary():
        with files.writing("figures", last.parent):
            trained, is_new = _with_mixtures(run, step, train_state)
            if is_new or not last.exists():
                _write_figures(run, trained)
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


def _trained(run: TrainingRun, step: int, train_state: TrainState) -> TrainedRun:
    """The averaged weights after `step` steps."""
    params = jax.device_get(train_state.ema)
    return TrainedRun(run.evaluator.model, params, run.config, step)


def _with_mixtures(run: TrainingRun, step: int, train_state: TrainState) -> tuple[TrainedRun, bool]:
    """(the finished run with the mixtures that it needs, whether they had to be fitted).

    Mixtures of these weights that are on disk are used; new ones are saved.
    """
    trained = with_saved_mixtures(_trained(run, step, train_state), run.workdir)
    size = figures.MixtureSize.final(run.config)
    if not figures.needs_mixtures(trained, run.splits, size):
        return trained, False
    run.log("fitting a mixture of Gaussians to the latents of the training images")
    trained = figures.with_prior(trained, run.splits, size)
    figures.save_mixtures(trained, run.workdir)
    return trained, True


def _measure_new_images(run: TrainingRun, step: int, train_state: TrainState) -> dict[str, float]:
    """The metrics of new images."""
    directory = run.workdir / files.FIGURES
    with files.writing("figures", directory):
        trained, _ = _with_mixtures(run, step, train_state)
        run.log(f"drawing {run.config.eval.samples:,} new images to compare with the test images")
        return sample_report.report(trained, run.splits, run.config, directory)


def _measure(run: TrainingRun, train_state: TrainState, split: str, full: bool = False) -> Report:
    """The metrics of the averaged weights on a split."""
    images, label_N = run.splits.to_measure(split, run.config.model.classes)
    return run.evaluator(train_state.ema, images, label_N, full=full)


def _final_reports(run: TrainingRun, train_state: TrainState) -> dict[str, Report]:
    """Those of the test images, and of training images if `config.eval.splits` asks for them: how
    far their likelihoods are apart shows overfitting."""
    splits = ["train", "test"] if "train" in run.config.eval.splits else ["test"]
    return {split: _measure(run, train_state, split, full=True) for split in splits}


def _likelihoods_of_training(reports: dict[str, Report]) -> dict[str, float]:
    """Those of training images, by name. Their other metrics have names of the training loss."""
    means = reports["train"].means if "train" in reports else {}
    return {f"train/{name}": v for name, v in means.items() if name.startswith(_LIKELIHOODS)}


def _write_scores(run: TrainingRun, reports: dict[str, Report]) -> None:
    """The metrics of each image, as `--mode evaluate` writes them."""
    path = run.workdir / files.SCORES
    parts = [
        columns.of_scores(split, getattr(run.splits.labels, split), report.by_seed)
        for split, report in reports.items()
    ]
    with files.writing("record", path):
        columns.write(path, columns.join(parts))


def _record(run: TrainingRun, step: int, metrics: dict[str, float]) -> None:
    """Writes and logs metrics, whose names begin with that of their split and a slash."""
    epoch = run.schedule.epoch(step)
    run.writer.write_metrics(step, epoch, metrics)
    for split in dict.fromkeys(name.partition("/")[0] for name in metrics):
        start = f"{split}/"
        means = {k.removeprefix(start): v for k, v in metrics.items() if k.startswith(start)}
        count = run.splits.count_measured(split)
        run.log(f"epoch {epoch:.3g}  {split} ({count:,} images): {format_metrics(means)}")


def _write_figures(run: TrainingRun, trained: TrainedRun) -> None:
    where = f"while figures of step {trained.step} were drawn"
    directory = run.workdir / files.FIGURES
    figures.write_figures(trained, run.splits.valid, run.writer.metrics(), directory, where)
    run.writer.write_pictures(trained.step, directory)
