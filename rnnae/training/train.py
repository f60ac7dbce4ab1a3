"""`train(config, workdir)`: one run, from its config to its test metrics.

A run on one device that nobody interrupts, without its records and figures, is

    splits = build.load_splits(config)
    model = build.build_model(config)
    optimizer, learning_rate = build.build_optimizer(config, steps)
    train_state = state.create(model, optimizer, model.image_shape, config.seed)
    train_step = make_train_step(config, optimizer, learning_rate, device)
    for images in batches:
        train_state, metrics = train_step(train_state, images)
    return Evaluator(model, [device], config)(train_state.ema, splits.test, full=True).means

All the rest here is for several devices and processes, signals, checkpoints and continuing.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import ml_collections

from rnnae import build, files
from rnnae import config as config_lib
from rnnae.config.saved_config import refuse_another_run
from rnnae.data import binarisation
from rnnae.data.splits import Splits
from rnnae.devices import distributed, memory, parallel, signals
from rnnae.evaluation import sample_report
from rnnae.evaluation.evaluate import Evaluator, check_protocol
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training import initial, milestones
from rnnae.training.loop import SyncPolicy, ThroughputMeter, batches, updates
from rnnae.training.profile import Profiler
from rnnae.training.progress import Progress, loss_text
from rnnae.training.schedule import Schedule
from rnnae.training.step import make_train_step


def train(
    config: ml_collections.ConfigDict, workdir: str | Path, profile: int = 0
) -> dict[str, float]:
    """Trains the config's model in `workdir`, or continues the run there; returns test metrics.

    With `profile`, that many program calls are traced, see `profile.py`; no metric changes. Raises
    a subclass of RnnaeError, each with its exit code, for whatever a user can correct.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals.handled())
        workdir = files.expand(workdir)
        devices = agree_on_devices(config, workdir)
        config, splits = load_data(config, workdir)
        schedule = Schedule.from_config(config, len(splits.train))
        progress = stack.enter_context(make_progress(config, splits, schedule))
        lock(workdir, progress.log, stack)
        run, train_state = open_run(config, workdir, splits, schedule, devices, progress.log, stack)
        step = int(train_state.step)

        if schedule.validation_due(step):  # the run was stopped during this validation
            milestones.validate(run, step, train_state)
        optimizer, learning_rate = build.build_optimizer(config, schedule.total)
        train_step = make_train_step(config, optimizer, learning_rate, devices[0])
        profiler = Profiler(workdir / files.PROFILE, profile, progress.log)
        stack.callback(profiler.stop)  # also of a run that stops
        signals.defer()
        steps = updates(
            step,
            train_state,
            parallel.train_call(train_step, devices),
            batches(splits, config, schedule, step),
            devices,
            SyncPolicy(schedule, config.train.checkpoint_every_seconds),
            ThroughputMeter(schedule, run.writer),
            progress,
            profiler,
        )
        for step, train_state in steps:
            milestones.save(run, step, train_state)
            signals.check(f"at step {step}")
            if schedule.validation_due(step):
                milestones.validate(run, step, train_state)
        profiler.stop(train_state)
        signals.stop_immediately("after the last step")
        return milestones.finish(run, step, train_state)


def agree_on_devices(config: ml_collections.ConfigDict, workdir: Path) -> list[jax.Device]:
    """The devices of a run, after checking its config, that all its processes agree, that its batch
    divides over them, and that it can fit into memory."""
    config_lib.check(config)
    devices = parallel.choose_devices(config.devices)
    distributed.check_same("the config", json.dumps(config.to_dict()))
    distributed.check_shared(workdir)
    parallel.check_batch(config.data.batch_size, devices)
    if shape := build.image_shape(config):
        memory.check_training(config, shape, len(devices) // jax.process_count())
    return devices


def load_data(
    config: ml_collections.ConfigDict, workdir: Path, splits: Splits | None = None
) -> tuple[ml_collections.ConfigDict, Splits]:
    """(config with the shape and the fingerprint of its images, images). Prints how many images
    there are and what was left out. ConfigError if `workdir` holds another run, if the likelihood
    does not fit the images, or if new images could not be measured at the end. `splits` are the
    images, if they are loaded already."""
    if splits is None:
        primary = distributed.is_primary()
        log = functools.partial(print, flush=True) if primary else lambda line: None
        splits = distributed.primary_first(lambda: build.load_splits(config, log))
    if not build.image_shape(config):  # the size was not known before
        memory.check_training(config, splits.train.shape[1:], jax.local_device_count())
    config = build.resolved(config, splits)
    refuse_another_run(config, workdir)
    check_images(config, splits)
    return config, splits


def check_images(config: ml_collections.ConfigDict, splits: Splits) -> None:
    """ConfigError if the likelihood or the classes of the model do not fit the images, or if new
    images could not be measured at the end."""
    model = build.build_model(config)
    check_protocol(model, splits.train, config.data.binarise)
    splits.check_classes(config.model.classes)
    sample_report.check(model, config, splits)


def make_progress(
    config: ml_collections.ConfigDict, splits: Splits, schedule: Schedule
) -> Progress:
    """The progress display of a run."""
    protocol = binarisation.protocol(splits.train, config.data.binarise)
    text = loss_text(build.build_model(config), protocol)
    epochs = schedule.epoch(schedule.total)
    return Progress(schedule.total, epochs, text, primary=distributed.is_primary())


def lock(workdir: Path, log: Callable[[str], None], stack: contextlib.ExitStack) -> None:
    """Locks `workdir` until `stack` closes, in the process that writes."""
    if distributed.is_primary():
        with files.writing("lock", workdir / ".lock"):
            stack.enter_context(files.exclusive_lock(workdir, log))


def open_run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    splits: Splits,
    schedule: Schedule,
    devices: Sequence[jax.Device],
    log: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> tuple[milestones.TrainingRun, TrainState]:
    """Opens the records in `workdir`, which is locked, and restores the newest checkpoint or
    initialises the state; `stack` closes the files."""
    primary = distributed.is_primary()
    optimizer, _ = build.build_optimizer(config, schedule.total)
    checkpoints = stack.enter_context(Checkpoints(workdir, config.to_dict()))
    train_state, restored, taken = initial.newest_state(
        config, optimizer, devices, checkpoints, log, repair=primary
    )
    resume_step = int(train_state.step) if restored else None
    tensorboard = config.train.tensorboard
    writer = Writer(workdir, resume_step=resume_step, tensorboard=tensorboard, primary=primary)
    stack.enter_context(writer)
    note = _record_config(config, schedule, writer, resume_step) if primary else ""
    evaluator = Evaluator(build.build_model(config), devices, config)
    run = milestones.TrainingRun(
        config, workdir, schedule, splits, evaluator, writer, checkpoints, log
    )
    record = {"init_from": taken} if taken else {}
    milestones.describe(run, train_state, devices, record)
    if restored:
        log(f"continuing {workdir} from step {resume_step} of {schedule.total}{note}")
    return run, train_state


def _record_config(
    config: ml_collections.ConfigDict, schedule: Schedule, writer: Writer, step: int | None
) -> str:
    """Saves the config of a run that continues after `step`; None for a new run.

    config.json says what was done: a run that has no steps left keeps its `train` section, and all
    of its config once it is tested. Returns the end of a line that says what a changed length means
    for the learning rate.
    """
    before = None if step is None else writer.config()
    if before is None:
        writer.write_config(config.to_dict())
        return ""
    planned = Schedule.from_config(before, schedule.images).total
    if step >= schedule.total:
        if not milestones.is_tested(writer, step):
            done = config.to_dict() | {"train": before.train.to_dict()}
            writer.write_config(done)
        return "" if planned == schedule.total else "; nothing is trained, and its record stays"
    writer.write_config(config.to_dict())
    if planned == schedule.total:
        return ""
    old, new = (float(build.build_optimizer(config, n)[1](step)) for n in (planned, schedule.total))
    return f" instead of {planned}: the learning rate is {new:.2e} now, and was to be {old:.2e}"
