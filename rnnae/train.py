"""`train_step`, and `train(config, workdir)`: the loop, a table of contents."""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from rnnae import config as config_lib
from rnnae import data, evaluate, keys, milestones, objective, parallel, sample, state
from rnnae import microbatch as microbatch_lib
from rnnae import precision as precision_lib
from rnnae.checkpoint import Checkpoints
from rnnae.errors import ConfigError, NonFiniteError
from rnnae.interrupt import Interrupt
from rnnae.progress import Progress
from rnnae.state import TrainState
from rnnae.timetable import Timetable
from rnnae.writer import Writer, read_config


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
    precision: str,
    microbatch: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one shard of a batch of uint8 images, of which at most `microbatch` at a
    time go through the model, or all for 0; pure. See `parallel.train_call`."""
    x_BHWC = data.to_unit(image_BHWC)
    step_key = jax.random.fold_in(train_state.key, train_state.step)
    pixels_key_B, latent_key_B = keys.split(keys.of_positions(step_key, positions_B))
    if binarise == "dynamic":
        x_BHWC = data.binarise(x_BHWC, pixels_key_B)
    weight = kl_weight(train_state.step)

    def terms(params, part):
        with precision_lib.of_products(precision):
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
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    device: jax.Device,
) -> Callable:
    """`train_step` of a config on devices like `device`, for `parallel.train_call`."""
    kl_weight = functools.partial(
        objective.kl_weight,
        beta=config.objective.beta,
        anneal_steps=config.objective.anneal_steps,
    )
    return functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        ema_decay=config.optim.ema,
        binarise=config.data.binarise,
        kl_weight=kl_weight,
        free_bits=config.objective.free_bits,
        precision=config.optim.precision,
        microbatch=microbatch_lib.limit(config.cpu_microbatch, device),
    )


def train(config: ml_collections.ConfigDict, workdir: str | Path) -> dict[str, float]:
    """Trains the config's model in `workdir`, or continues what is there; returns test metrics.

    Raises a subclass of RnnaeError, with its exit code, for whatever a user can mend.
    """
    workdir, primary = Path(workdir), parallel.is_primary()
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        parallel.check_same("the config", json.dumps(config.to_dict()))
        devices = parallel.choose_devices(config.devices)
        parallel.check_batch(config.data.batch_size, devices)
        splits = sample.load_splits(config)
        config = config_lib.resolved(config, splits.train.shape[1:])
        refuse_another_run(config, workdir)

        timetable = Timetable.of(config, len(splits.train))
        model, optimizer, schedule = sample.build(config, timetable.total)
        evaluate.check_protocol(model, splits.train, config.data.binarise)
        train_state = state.create(model, optimizer, model.image_shape, config.seed)
        train_state = parallel.replicate(train_state, devices)
        checkpoints = stack.enter_context(contextlib.closing(Checkpoints(workdir)))
        restored = checkpoints.restore(train_state, repair=primary)
        train_state = train_state if restored is None else restored
        step = int(train_state.step)

        writer = Writer(
            workdir,
            resume_step=None if restored is None else step,
            tensorboard=config.train.tensorboard,
            primary=primary,
        )
        stack.enter_context(contextlib.closing(writer))
        writer.write_config(config.to_dict())
        progress = stack.enter_context(
            Progress(timetable.total, timetable.epoch(timetable.total), primary)
        )
        if primary:
            milestones.describe(model, train_state, devices, workdir, writer, progress)
        if restored is not None:
            progress.say(f"continuing {workdir} from step {step} of {timetable.total}")

        done = milestones.Milestones(
            config,
            workdir,
            splits,
            model,
            evaluate.Evaluator(model, devices, config),
            writer,
            progress,
            checkpoints,
            interrupt,
        )
        if timetable.validation_due(step):  # a run that was stopped in the middle of it
            done.validate(step, timetable.epoch(step), train_state)
        call = parallel.train_call(step_of(config, model, optimizer, schedule, devices[0]), devices)
        size = timetable.size
        batches = data.stream(
            splits.train,
            timetable.calls(step),
            seed=config.seed,
            size=size,
            part=parallel.part(size),
        )
        pause = Pause(timetable, interrupt, config.train.checkpoint_every_seconds)
        meter = Meter(timetable, writer, progress)
        interrupt.defer()
        steps = updates(train_state, call, batches, devices, meter, pause)
        for step, train_state in steps:
            writer.sync()
            checkpoints.save("latest", step, train_state)
            interrupt.check(f"at step {step}")
            if timetable.validation_due(step):
                done.validate(step, timetable.epoch(step), train_state)
        interrupt.nothing_to_lose()
        return done.finish(step, timetable.epoch(step), train_state)


def updates(
    train_state: TrainState,
    call: Callable,
    batches: Iterator[np.ndarray],
    devices: Sequence[jax.Device],
    meter: "Meter",
    pause: "Pause",
) -> Iterator[tuple[int, TrainState]]:
    """Trains over `batches`, one program call each; yields (step, state) whenever `pause` says so.

    Call n is dispatched before the metrics of call n - 1 are read, so that the device does not
    wait for the host; at a pause all metrics have been read.
    """
    programs, unread = {}, []
    step = int(train_state.step)
    meter.start()
    for images_KBHWC in batches:
        count = len(images_KBHWC)
        shards = parallel.shard_batches(images_KBHWC, devices)
        if count not in programs:  # two or three lengths in a run
            while unread:  # or the call still running would hide behind the compiler's time
                meter.read(*unread.pop(0))
            begin = time.monotonic()
            programs[count] = call.lower(train_state, shards).compile()
            meter.compiled(time.monotonic() - begin)
        train_state, metrics = programs[count](train_state, shards)
        step += count
        unread.append((step, metrics))
        paused = pause.due(step)
        while len(unread) > (0 if paused else 1):
            meter.read(*unread.pop(0))
        if paused:
            yield step, train_state
            meter.start()


class Pause:
    """When the state is handed out: to be validated, saved, or because a signal came."""

    def __init__(self, timetable: Timetable, interrupt: Interrupt, seconds: float):
        self._timetable, self._interrupt, self._seconds = timetable, interrupt, seconds
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        now = time.monotonic()
        wanted = self._interrupt.requested or now - self._last > self._seconds
        due = (
            step == self._timetable.total
            or self._timetable.validation_due(step)
            or parallel.greatest(wanted) > 0
        )
        self._last = now if due else self._last
        return due


class Meter:
    """Reads the metrics of each call: checks, records and shows them, with the training speed."""

    def __init__(self, timetable: Timetable, writer: Writer, progress: Progress):
        self._timetable, self._writer, self._progress = timetable, writer, progress
        self._seconds = max((r["seconds"] for r in writer.timings()), default=0.0)
        self._compiled = False
        self.start()

    def start(self) -> None:
        """Training time runs from here: what came before was not training."""
        self._begin = time.monotonic()

    def compiled(self, seconds: float) -> None:
        """Compile time is said once, and is not training time."""
        if not self._compiled:
            self._progress.say(f"compiled in {seconds:.1f} s")
        self._compiled = True
        self._begin += seconds

    def read(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Waits for the call that ended at `step`; raises NonFiniteError if a step of it failed."""
        values = {name: np.asarray(x, np.float64) for name, x in jax.device_get(metrics).items()}
        finite = np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])
        count = len(finite)
        if not finite.all():
            k = int(np.argmin(finite))
            raise NonFiniteError(
                f"loss {values['loss'][k]} with gradient norm {values['grad_norm'][k]} at step "
                f"{step - count + k + 1}, learning rate {values['learning_rate'][k]:.3g}; the last "
                "checkpoint is from before it; lower config.optim.learning_rate or "
                "config.optim.clip_norm"
            )
        means = {f"train/{name}": float(x.mean()) for name, x in values.items()}
        self._writer.write(step, self._timetable.epoch(step), means)
        now = time.monotonic()
        speed = count * self._timetable.size / max(now - self._begin, 1e-9)
        self._seconds, self._begin = self._seconds + now - self._begin, now
        self._writer.timing(step, seconds=self._seconds, images_per_second=speed)
        left = self._seconds / step * (self._timetable.total - step)  # at the mean speed so far
        self._progress.update(step, means["train/loss"], speed, left)


def refuse_another_run(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """ConfigError naming the keys in which `config` differs from the run kept in `workdir`."""
    if not (workdir / "config.json").exists():
        return
    changed = config_lib.changes(read_config(workdir), config.to_dict())
    if changed:
        detail = ", ".join(f"config.{key}: {old} there, {new} here" for key, old, new in changed)
        raise ConfigError(
            f"{workdir} holds another run ({detail}); use those values, or another --workdir"
        )
