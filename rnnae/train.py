"""`train_step`, and `train(config, workdir)`: the loop, a table of contents."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from rnnae import data, evaluate, objective, parallel, sample, state
from rnnae.checkpoint import Checkpoints
from rnnae.errors import ConfigError, NonFiniteError
from rnnae.interrupt import Interrupt
from rnnae.progress import Progress
from rnnae.state import TrainState
from rnnae.writer import Writer, read_config

# What may differ when a run is continued: where things are, how long and how often; nothing that
# would make the continued run another run.
_MAY_CHANGE = ("data.data_dir", "data.source_dir", "data.in_memory_gib", "train.", "eval.")
_MAY_CHANGE += ("compilation_cache", "devices")


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
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one shard of a batch of uint8 images; pure. See `parallel.train_call`."""
    x_BHWC = data.to_unit(image_BHWC)
    if binarise == "dynamic":
        step_key = jax.random.fold_in(train_state.key, train_state.step)
        keys_B = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, positions_B)
        x_BHWC = data.binarise(x_BHWC, keys_B)

    def loss(params):
        return objective.loss(model.apply({"params": params}, x_BHWC))

    gradients, means = jax.grad(loss, has_aux=True)(train_state.params)
    gradients, means = average((gradients, means))
    updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
    params = optax.apply_updates(train_state.params, updates)
    means["grad_norm"] = optax.global_norm(gradients)
    means["learning_rate"] = schedule(train_state.step)
    new = train_state.replace(
        step=train_state.step + 1,
        params=params,
        ema=state.ema_update(train_state.ema, params, ema_decay, train_state.step),
        opt_state=opt_state,
    )
    return new, means


def calls(step: int, total: int, *, images: int, size: int, most: int) -> Iterator[tuple[int, int]]:
    """(first step, count) of each program call from `step` to `total`.

    Calls end at epochs' ends and at multiples of `most` steps inside an epoch. They are a function
    of the step alone, so a continued run makes the very calls that the unbroken one would have.
    """
    while step < total:
        epoch = step * size // images
        start, end = (data.epoch_end(e, images, size) for e in (epoch, epoch + 1))
        count = min(most - (step - start) % most, end - step, total - step)
        yield step, count
        step += count


def train(config: ml_collections.ConfigDict, workdir: str | Path) -> dict[str, float]:
    """Trains the config's model in `workdir`, or continues what is there; returns test metrics.

    Raises a subclass of RnnaeError, with its exit code, for whatever a user can mend.
    """
    with Interrupt() as interrupt:
        return _Training(config, Path(workdir), interrupt).run()


class _Training:
    """The pieces of one run. `run` is what happens, in order."""

    def __init__(self, config, workdir: Path, interrupt: Interrupt):
        self.config, self.workdir, self.interrupt = config, workdir, interrupt
        self.devices = parallel.choose_devices(config.devices)
        parallel.check_batch(config.data.batch_size, self.devices)
        self.splits = sample.load_splits(config)
        with config.unlocked():
            config.data.shape = tuple(self.splits.train.shape[1:])
        check_same_run(config, workdir)
        self.size, self.images = config.data.batch_size, len(self.splits.train)
        self.total = config.train.max_steps or self._epoch_end(config.train.epochs)
        self.model, self.optimizer, schedule = sample.build(config, self.total)
        self.call = parallel.train_call(
            lambda *inputs: train_step(
                *inputs,
                model=self.model,
                optimizer=self.optimizer,
                schedule=schedule,
                ema_decay=config.optim.ema,
                binarise=config.data.binarise,
            ),
            self.devices,
        )
        self.programs = {}
        self.evaluate = evaluate.evaluator(
            self.model, self.devices, config.eval.batch_size, config.eval.seed
        )

    def run(self) -> dict[str, float]:
        config = self.config
        self.state = state.create(self.model, self.optimizer, config.data.shape, config.seed)
        self.checkpoints = Checkpoints(self.workdir)
        restored = self.checkpoints.restore(self.state, repair=True)
        if restored is not None:
            self.state = restored
        self.step = int(self.state.step)
        self.writer = Writer(
            self.workdir,
            resume_step=None if restored is None else self.step,
            tensorboard=config.train.tensorboard,
            primary=parallel.is_primary(),
        )
        self.writer.write_config(config.to_dict())
        epochs = self.total * self.size / self.images
        with Progress(self.total, epochs, primary=parallel.is_primary()) as self.progress:
            self._describe()
            if restored is not None:
                self.progress.say(f"continuing {self.workdir} from step {self.step}")
            self._steps()
            self._save()
            self.interrupt.nothing_to_lose()
            result = self._finish()
        self.checkpoints.close()
        self.writer.close()
        return result

    def _steps(self) -> None:
        """All training steps; dispatches a call, then records the one before it."""
        config = self.config
        self.seconds = max((r["seconds"] for r in self.writer.timings()), default=0.0)
        self.clock = self.saved = time.monotonic()
        pending = None
        plan = list(
            calls(
                self.step,
                self.total,
                images=self.images,
                size=self.size,
                most=config.train.steps_per_call,
            )
        )
        batches = data.stream(self.splits.train, plan, seed=config.seed, size=self.size)
        self._evaluate_if_due()  # a run stopped in the middle of its evaluation
        for (first, count), images_KBHWC in zip(plan, batches, strict=True):
            shards = parallel.shard_batches(images_KBHWC, self.devices)
            program = self._program(shards)
            self.state, metrics = program(self.state, shards)
            if pending is not None:
                self._record(*pending)
            pending = (first + count, count, metrics)
            due = self._evaluation_due(first + count)
            late = time.monotonic() - self.saved > config.train.checkpoint_every_seconds
            if due or late or self.interrupt.requested or first + count == self.total:
                self._record(*pending)
                pending, self.step = None, first + count
                self._save()
                self.interrupt.check(f"at step {self.step}")
                self._evaluate_if_due()

    def _program(self, shards):
        """The compiled call for as many steps as `shards` has; a run needs two or three."""
        count = shards.shape[1]
        if count not in self.programs:
            start = time.monotonic()
            self.programs[count] = self.call.lower(self.state, shards).compile()
            if len(self.programs) == 1:
                self.progress.say(f"compiled in {time.monotonic() - start:.1f} s")
            self.clock += time.monotonic() - start
        return self.programs[count]

    def _record(self, step: int, count: int, metrics) -> None:
        """Writes the means of one call; waits for the device to finish it."""
        values = {name: np.asarray(x, np.float64) for name, x in jax.device_get(metrics).items()}
        for k in range(count):
            if not np.isfinite(values["loss"][k] + values["grad_norm"][k]):
                raise NonFiniteError(
                    f"loss {values['loss'][k]} with gradient norm {values['grad_norm'][k]} at step "
                    f"{step - count + k + 1}, learning rate {values['learning_rate'][k]:.3g}; the "
                    "last checkpoint is from before; lower config.optim.learning_rate or set "
                    "config.optim.clip_norm"
                )
        means = {f"train/{name}": float(x.mean()) for name, x in values.items()}
        self.writer.write(step, self._epoch(step), means)
        now = time.monotonic()
        speed = count * self.size / max(now - self.clock, 1e-9)
        self.seconds, self.clock = self.seconds + now - self.clock, now
        self.writer.timing(step, seconds=self.seconds, images_per_second=speed)
        rate = self.seconds / step  # over the whole run, evaluations aside
        self.progress.update(step, means["train/loss"], speed, rate * (self.total - step))

    def _save(self) -> None:
        """The state at `self.step` to disk, after everything that was measured up to it."""
        self.writer.sync()
        self.checkpoints.save("latest", self.step, self.state)
        self.saved = time.monotonic()

    def _evaluation_due(self, step: int) -> bool:
        if self.config.data.train_on_all or not step:
            return False
        epoch = step * self.size // self.images
        at_end = step == self._epoch_end(epoch)
        turn = epoch == 1 or epoch % self.config.train.eval_every_epochs == 0
        return (at_end and turn) or step == self.total

    def _evaluate_if_due(self) -> None:
        """Validation, best checkpoint, record, pictures: in the order that survives a kill."""
        done = {r["step"]: r["valid/loss"] for r in self.writer.records() if "valid/loss" in r}
        if not self._evaluation_due(self.step) or self.step in done:
            return
        start = time.monotonic()
        means = self._means("valid")
        if means["loss"] < min(done.values(), default=np.inf):
            self.checkpoints.save("best", self.step, self.state)
        self._write_means("valid", means)
        run = self._run()
        few = self.splits.train[np.arange(min(2000, self.images))]
        self._draw(run.with_mixture(few, components=10))
        self.clock += time.monotonic() - start  # the speed reported is that of training

    def _finish(self) -> dict[str, float]:
        """Test metrics of the final averaged weights, the mixture over all codes, the pictures."""
        results = [r for r in self.writer.records() if "test/mse" in r and r["step"] == self.step]
        if not results:
            means = self._means("test")
            self.progress.say("fitting a mixture of Gaussians to the training codes")
            every = self.splits.train[np.arange(min(self.images, 50_000))]
            run = self._run().with_mixture(every, self.config.eval.mixture_components)
            run.mixture.save(self.workdir / "mixture.npz")
            self._write_means("test", means)
            self._draw(run)
            results = [{f"test/{name}": value for name, value in means.items()}]
        result = {name: value for name, value in results[-1].items() if name.startswith("test/")}
        short = evaluate.line({name.split("/")[1]: value for name, value in result.items()})
        self.progress.say(f"test ({len(self.splits.test):,} images): {short}")
        self.progress.say(f"pictures in {self.workdir / 'pictures'}")
        return result

    def _means(self, split: str) -> dict[str, float]:
        images = evaluate.held_out(
            getattr(self.splits, split),
            binarise=self.config.data.binarise,
            seed=self.config.eval.seed,
        )
        return self.evaluate(
            self.state.ema,
            images,
            lambda: self.interrupt.check(f"in the evaluation at step {self.step}"),
        )

    def _write_means(self, split: str, means: dict[str, float]) -> None:
        values = {f"{split}/{name}": value for name, value in means.items()}
        self.writer.write(self.step, self._epoch(self.step), values)
        self.progress.say(f"epoch {self._epoch(self.step):g}  {split}: {evaluate.line(means)}")

    def _run(self) -> sample.Run:
        return sample.Run(self.model, jax.device_get(self.state.ema), self.config)

    def _draw(self, run: sample.Run) -> None:
        directory = self.workdir / "pictures"
        directory.mkdir(parents=True, exist_ok=True)
        sample.draw(run, self.splits.valid, self.writer.records(), directory)

    def _describe(self) -> None:
        """The parameter summary: a file, and one line of it."""
        params = self.state.params
        count = sum(x.size for x in jax.tree.leaves(params))
        parts = ", ".join(
            f"{name} {sum(x.size for x in jax.tree.leaves(part)):,}"
            for name, part in params.items()
        )
        image = np.zeros((1, *self.config.data.shape), np.float32)
        table = nn.tabulate(self.model, jax.random.key(0), console_kwargs={"width": 120})(image)
        (self.workdir / "summary.txt").write_text(table)
        kinds = ", ".join(sorted({d.device_kind for d in self.devices}))
        self.progress.say(f"{count:,} parameters ({parts}) on {len(self.devices)} x {kinds}")

    def _epoch_end(self, epoch: int) -> int:
        return data.epoch_end(epoch, self.images, self.size)

    def _epoch(self, step: int) -> float:
        return round(step * self.size / self.images, 3)


def check_same_run(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """ConfigError naming the keys in which `config` differs from the run kept in `workdir`."""
    if not (workdir / "config.json").exists():
        return
    old, new = (_flat(c) for c in (read_config(workdir), config.to_dict()))
    changed = sorted(
        key
        for key in old.keys() | new.keys()
        if not key.startswith(_MAY_CHANGE) and old.get(key) != new.get(key)
    )
    if changed:
        detail = ", ".join(f"config.{k}: {old.get(k)} there, {new.get(k)} here" for k in changed)
        raise ConfigError(
            f"{workdir} holds another run ({detail}); use those values, or another --workdir"
        )


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
