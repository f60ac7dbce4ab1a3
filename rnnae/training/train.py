"""`train_step`, and `train(config, workdir)`: the loop, a table of contents."""

import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn

from rnnae import config as config_lib
from rnnae import objective, rng, state
from rnnae.config.saved_config import refuse_another_run
from rnnae.data import pipeline
from rnnae.devices import distributed, parallel
from rnnae.devices import microbatch as microbatch_lib
from rnnae.devices.signals import Interrupt
from rnnae.errors import choose
from rnnae.evaluation import evaluate, trained_run
from rnnae.nn.matmul import MATMUL_DTYPES
from rnnae.records.checkpoint import Checkpoints, meet
from rnnae.records.writer import Writer, alone
from rnnae.state import TrainState
from rnnae.training.loop import Meter, Pause, batches_of, updates
from rnnae.training.milestones import Milestones
from rnnae.training.progress import Progress
from rnnae.training.schedule import Timetable


def train_step(
    train_state: TrainState,
    image_BHWC: jax.Array,
    positions_B: jax.Array,
    average: Callable,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    ema_decay: float,
    binarise: str,
    kl_weight: Callable[[jax.Array], jax.Array],
    free_bits: float,
    microbatch: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one shard of a batch of uint8 images, of which at most `microbatch` at a
    time go through the model, or all for 0; pure. See `parallel.train_call`."""
    x_BHWC = pipeline.to_unit(image_BHWC)
    step_key = jax.random.fold_in(train_state.key, train_state.step)
    pixels_key_B, latent_key_B = rng.split(rng.of_positions(step_key, positions_B))
    if binarise == "dynamic":
        x_BHWC = pipeline.binarise(x_BHWC, pixels_key_B)
    weight = kl_weight(train_state.step)

    def terms(params, part):
        return model.apply({"params": params}, *part)

    def mean(function):
        return average(microbatch_lib.mean(function, (x_BHWC, latent_key_B), microbatch))

    mean_kl_TZ = 0.0
    if free_bits:  # costs a pass, without what only the reconstruction needs
        mean_kl_TZ = mean(lambda part: jnp.mean(terms(train_state.params, part).kl_BTZ, axis=0))

    def loss(params, part):
        return objective.loss(
            terms(params, part), kl_weight=weight, free_bits=free_bits, mean_kl_TZ=mean_kl_TZ
        )

    gradient = jax.grad(loss, has_aux=True)
    gradients, means = mean(lambda part: gradient(train_state.params, part))
    updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
    params = optax.apply_updates(train_state.params, updates)
    means["grad_norm"] = optax.global_norm(gradients)
    means["learning_rate"] = schedule(train_state.step)
    means["kl_weight"] = weight
    new = train_state.replace(
        step=train_state.step + 1,
        params=params,
        ema=state.ema_update(train_state.ema, params, ema_decay, train_state.step),
        opt_state=opt_state,
    )
    return new, means


def step_of(
    config: ml_collections.ConfigDict,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    device: jax.Device,
) -> Callable:
    """`train_step` of a config on devices like `device`, for `parallel.train_call`."""
    matmul_dtype = choose(MATMUL_DTYPES, "config.optim.precision", config.optim.precision)
    kl_weight = functools.partial(
        objective.kl_weight,
        beta=config.objective.beta,
        anneal_steps=config.objective.anneal_steps,
    )
    return functools.partial(
        train_step,
        model=trained_run.build_model(config, matmul_dtype),
        optimizer=optimizer,
        schedule=schedule,
        ema_decay=config.optim.ema,
        binarise=config.data.binarise,
        kl_weight=kl_weight,
        free_bits=config.objective.free_bits,
        microbatch=microbatch_lib.limit(config.cpu_microbatch, device),
    )


def train(config: ml_collections.ConfigDict, workdir: str | Path) -> dict[str, float]:
    """Trains the config's model in `workdir`, or continues what is there; returns test metrics.

    Raises a subclass of RnnaeError, with its exit code, for whatever a user can mend.
    """
    return train_together([config], [Path(workdir)])[0]


def train_seeds(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    seeds: Sequence[int],
    together: bool | None = None,
) -> list[dict[str, float]]:
    """`train` with each of the seeds, in `workdir`/seed<n>: as one program or one after another.

    `together` says which; None is as one on accelerators, which a single small model leaves idle,
    and not on CPUs, where it is slower (configs/mnist.py, two seeds, two cores: 1.14 times). It is
    one after another anyway where the device has no room for all, or where they stand at different
    steps.
    """
    configs = [config.copy_and_resolve_references() for _ in seeds]
    for own, seed in zip(configs, seeds, strict=True):
        own.seed = seed
    workdirs = [Path(workdir) / f"seed{seed}" for seed in seeds]
    if together is None:
        together = jax.default_backend() != "cpu"
    if together and not meet(workdirs):
        print("the seeds stand at different steps: one after another", flush=True)
    elif together:
        try:
            return train_together(configs, workdirs)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print("no room for all seeds on the device: one after another", flush=True)
    results = []
    for own, directory in zip(configs, workdirs, strict=True):
        print(f"seed {own.seed}, in {directory}", flush=True)
        results.append(train(own, directory))
    return results


def train_together(
    configs: Sequence[ml_collections.ConfigDict], workdirs: Sequence[Path]
) -> list[dict[str, float]]:
    """`train` of configs that differ in their seeds only, as one program: states stacked, the step
    vmapped over them. Each leaves the records and checkpoints of a run of its own."""
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        devices = parallel.choose_devices(configs[0].devices)
        distributed.check_same("the config", json.dumps([config.to_dict() for config in configs]))
        distributed.check_shared(workdirs[0])
        parallel.check_batch(configs[0].data.batch_size, devices)
        splits = [trained_run.load_splits(config) for config in configs]
        configs = [
            config_lib.resolved(config, own.train.shape[1:], pipeline.fingerprint(own))
            for config, own in zip(configs, splits, strict=True)
        ]
        for own, workdir in zip(configs, workdirs, strict=True):
            refuse_another_run(own, workdir)

        config = configs[0]  # for what is not of the seed
        timetable = Timetable.of(config, len(splits[0].train))
        model, optimizer, schedule = trained_run.build(config, timetable.total)
        evaluate.check_protocol(model, splits[0].train, config.data.binarise)
        epochs = timetable.epoch(timetable.total)
        progress = stack.enter_context(
            Progress(timetable.total, epochs, primary=distributed.is_primary())
        )
        evaluator = evaluate.Evaluator(model, devices, config)
        states, runs = [], []
        for own, workdir, parts in zip(configs, workdirs, splits, strict=True):
            say = progress.say if len(configs) == 1 else progress.named(f"seed {own.seed}")
            train_state, run = _open(
                own, workdir, parts, timetable, evaluator, optimizer, devices, say, interrupt, stack
            )
            states.append(train_state)
            runs.append(run)
        step = int(train_state.step)
        train_state = parallel.replicate(state.stack(states), devices)
        del states  # or they would take room beside what they became

        def each(action: Callable, step: int, train_state: TrainState) -> list:
            own = state.unstack(train_state, len(runs))
            return [action(run, step, s) for run, s in zip(runs, own, strict=True)]

        if timetable.validation_due(step):  # stopped in the middle of it
            each(Milestones.validate, step, train_state)
        one_step = step_of(config, optimizer, schedule, devices[0])
        call = parallel.train_call(one_step if len(runs) == 1 else over_runs(one_step), devices)
        pause = Pause(timetable, interrupt, config.train.checkpoint_every_seconds)
        meter = Meter(timetable, [run.writer for run in runs], progress)
        interrupt.defer()
        sources = {run.config.seed: run.splits.train for run in runs}
        images = batches_of(sources, timetable, step)
        steps = updates(step, train_state, call, images, devices, meter, pause)
        for step, train_state in steps:
            each(Milestones.save, step, train_state)
            interrupt.check(f"at step {step}")
            if timetable.validation_due(step):
                each(Milestones.validate, step, train_state)
        interrupt.nothing_to_lose()
        return each(Milestones.finish, step, train_state)


def _open(
    config: ml_collections.ConfigDict,
    workdir: Path,
    splits: pipeline.Splits,
    timetable: Timetable,
    evaluator: evaluate.Evaluator,
    optimizer: optax.GradientTransformation,
    devices: Sequence[jax.Device],
    say: Callable[[str], None],
    interrupt: Interrupt,
    stack: contextlib.ExitStack,
) -> tuple[TrainState, Milestones]:
    """A run as it is in `workdir`, or at its beginning; `stack` closes its files."""
    model, primary = evaluator.model, distributed.is_primary()
    if primary:
        stack.enter_context(alone(workdir))
    train_state = state.create(model, optimizer, model.image_shape, config.seed)
    train_state = parallel.replicate(train_state, devices)
    checkpoints = stack.enter_context(contextlib.closing(Checkpoints(workdir)))
    restored = checkpoints.restore(train_state, repair=primary)
    train_state = train_state if restored is None else restored
    resume_step = None if restored is None else int(restored.step)
    tensorboard = config.train.tensorboard
    writer = Writer(workdir, resume_step=resume_step, tensorboard=tensorboard, primary=primary)
    stack.enter_context(contextlib.closing(writer))
    writer.write_config(config.to_dict())
    run = Milestones(
        config, workdir, timetable, splits, model, evaluator, writer, say, checkpoints, interrupt
    )
    run.describe(train_state, devices)
    if restored is not None:
        say(f"continuing {workdir} from step {resume_step} of {timetable.total}")
    return train_state, run


def over_runs(step: Callable) -> Callable:
    """`train_step` of one run -> that of several, whose states and images have an axis for them."""

    def steps(train_state, image_SBHWC, positions_B, average):
        def one(own, image_BHWC):
            return step(own, image_BHWC, positions_B, average)

        return jax.vmap(one)(train_state, image_SBHWC)

    return steps
