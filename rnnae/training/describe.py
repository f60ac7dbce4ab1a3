"""`--mode describe`: what a config would train, without training it."""

import jax
import ml_collections
import numpy as np

from rnnae import build, state
from rnnae import config as config_lib
from rnnae.config import default
from rnnae.data import binarisation
from rnnae.data.splits import Splits
from rnnae.devices import memory, parallel
from rnnae.errors import DataError, one_line
from rnnae.evaluation import flops
from rnnae.training.schedule import Schedule
from rnnae.training.step import make_train_step
from rnnae.training.train import check_images
from rnnae.types import Batch


def describe(config: ml_collections.ConfigDict) -> None:
    """Prints the size of the model, of its arithmetic, of its state and of its compiled training
    call, the number of steps, and every key of the config; `*` marks what differs from the default.

    Nothing is trained or written, but a data set is prepared if it was not. Where its files are not
    found the rest is printed, if the config says how large the images are.
    """
    devices = parallel.choose_devices(config.devices)
    parallel.check_batch(config.data.batch_size, devices)
    lines = {}
    try:
        splits = build.load_splits(config)
        config = config_lib.resolved(config, splits.train.shape[1:], "", splits.class_names)
        check_images(config, splits)
        lines["data"] = _data(config, splits)
        images = len(splits.train)
    except DataError as error:
        shape = build.image_shape(config)
        if shape is None:
            raise
        config = config_lib.resolved(config, shape)
        lines["data"] = f"not there: {one_line(error)}"
        images = 0
    memory.check_training(config, tuple(config.data.shape), len(devices))
    schedule = Schedule.from_config(config, images) if images else None
    lines |= _model(config)
    if schedule:
        lines["schedule"] = _schedule(schedule)
    lines["program"] = _program(config, schedule, devices)
    for name, text in lines.items():
        print(f"{name:<12}{text}")
    print()
    usual = config_lib.flat(default(config.model.name).to_dict())
    for key, value in config_lib.flat(config.to_dict()).items():
        print(f"{'*' if value != usual.get(key) else ' '} config.{key} = {value!r}")


def _data(config: ml_collections.ConfigDict, splits: Splits) -> str:
    counts = ", ".join(f"{len(images):,}" for images in splits.images)
    shape = "x".join(map(str, splits.train.shape[1:]))
    protocol = binarisation.protocol(splits.train, config.data.binarise)
    return f"{config.data.name}: {counts} images of {shape} (train, valid, test), {protocol}"


def _model(config: ml_collections.ConfigDict) -> dict[str, str]:
    model = build.build_model(config)
    optimizer, _ = build.build_optimizer(config, 1)
    whole = state.shapes(model, optimizer)
    parts = [f"{name} {state.count(part):,}" for name, part in sorted(whole.params.items())]
    parameters = f"{state.count(whole.params):,} parameters ({', '.join(parts)})"
    forward, training = (count(model) / 1e6 for count in (flops.forward, flops.training))
    return {
        "model": f"{config.model.name}, {parameters}",
        "arithmetic": f"{forward:,.1f} MFLOP for an image forward, {training:,.1f} in training",
        "state": f"{memory.size_of(whole) / 1e6:,.1f} MB: parameters, their average, optimizer",
    }


def _schedule(schedule: Schedule) -> str:
    epochs = schedule.epoch(schedule.total)
    return f"{schedule.total:,} steps of {schedule.batch_size} images, {epochs:g} epochs"


def _program(config: ml_collections.ConfigDict, schedule: Schedule | None, devices) -> str:
    """The memory of the compiled training call, as XLA plans it from shapes alone."""
    total = schedule.total if schedule else config.train.steps_per_call
    count = min(config.train.steps_per_call, total)
    optimizer, learning_rate = build.build_optimizer(config, total)
    model = build.build_model(config)
    train_state = state.shapes(model, optimizer)
    shape = (len(devices), count, config.data.batch_size // len(devices))
    images = jax.ShapeDtypeStruct((*shape, *config.data.shape), np.uint8)
    batches = Batch(images, jax.ShapeDtypeStruct(shape, np.int32))
    step = make_train_step(config, optimizer, learning_rate, devices[0])
    compiled = parallel.train_call(step, devices).lower(train_state, batches).compile()
    where = f"{count} steps on {len(devices)} x {devices[0].device_kind}"
    plan = compiled.memory_analysis()
    if plan is None:
        return f"{where}; this device does not tell its memory"
    temporary, arguments = plan.temp_size_in_bytes, plan.argument_size_in_bytes
    return f"{where}: {temporary / 1e6:,.1f} MB beside {arguments / 1e6:,.1f} MB of its arguments"
