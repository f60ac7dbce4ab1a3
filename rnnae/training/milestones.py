"""What a run does besides updates: describe itself, validate, and finish with the test set."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import ml_collections
import numpy as np
from flax import linen as nn

from rnnae import state
from rnnae.data import pipeline
from rnnae.devices import distributed
from rnnae.devices.signals import Interrupt
from rnnae.errors import NonFiniteError
from rnnae.evaluation import evaluate, figures, flops, trained_run
from rnnae.models import Autoencoder
from rnnae.records import provenance
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.schedule import Timetable

_PREVIEW = {"images": 2000, "components": 10}  # of the mixture behind the pictures on the way


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Those of one run; `validate` and `finish` leave a record already there alone."""

    config: ml_collections.ConfigDict
    workdir: Path
    timetable: Timetable
    splits: pipeline.Splits
    model: Autoencoder
    evaluator: evaluate.Evaluator
    writer: Writer
    say: Callable[[str], None]
    checkpoints: Checkpoints
    interrupt: Interrupt

    def describe(self, train_state: TrainState, devices: Sequence[jax.Device]) -> None:
        """The parameter summary: the table into summary.txt, its totals on one line; and a record
        of what runs where."""
        if not distributed.is_primary():
            return
        model, params = self.model, train_state.params

        def size(tree):
            return sum(x.size for x in jax.tree.leaves(tree))

        image, key = np.zeros((1, *model.image_shape), np.float32), jax.random.key(0)
        plain = {"width": 120, "force_terminal": False}  # no colours in a file
        table = nn.tabulate(model, key, console_kwargs=plain)(image, key[None])
        (self.workdir / "summary.txt").write_text(table)
        parts = ", ".join(f"{name} {size(part):,}" for name, part in sorted(params.items()))
        kinds = ", ".join(sorted({device.device_kind for device in devices}))
        self.say(f"{size(params):,} parameters ({parts}) on {len(devices)} x {kinds}")
        arithmetic = {"parameters": size(params), "training_flop_per_image": flops.training(model)}
        step = int(train_state.step)
        about = provenance.describe(devices) | arithmetic | {"tested": bool(self._tested(step))}
        self.writer.started(step, about)

    def save(self, step: int, train_state: TrainState) -> None:
        """All that was recorded, and the state, survive from here on. NonFiniteError for what no
        training could continue: the loss that would show it is that of the next step."""
        if not state.finite(train_state.params):
            raise NonFiniteError(
                f"the parameters are not finite after step {step}; the last checkpoint is from "
                "before it; lower config.optim.learning_rate or config.optim.clip_norm"
            )
        self.writer.sync()
        self.checkpoints.save("latest", step, train_state)

    def validate(self, step: int, train_state: TrainState) -> None:
        """Validation metrics, best checkpoint, record, pictures: in the order that survives a
        kill. An interrupted validation leaves no record, so a continued run does it again."""
        done = {r["step"]: r["valid/loss"] for r in self.writer.records() if "valid/loss" in r}
        if distributed.on_primary(lambda: step in done):
            return
        means = self._measure("valid", step, train_state)
        if distributed.on_primary(lambda: means["loss"] < min(done.values(), default=math.inf)):
            self.checkpoints.save("best", step, train_state)
        self._record("valid", step, means)
        # All is recorded and saved: a signal need not wait for pictures, which compile and plot.
        where = f"after the evaluation at step {step}"
        self.interrupt.check(where)
        if distributed.is_primary():
            self._draw(self._with_prior(train_state, **_PREVIEW), where)

    def finish(self, step: int, train_state: TrainState) -> dict[str, float]:
        """Test metrics of the averaged weights, the mixture over the codes, the last pictures."""
        result = distributed.on_primary(lambda: self._tested(step))
        last = self._pictures / figures.LAST_PICTURE
        if result:
            means = {name.removeprefix("test/"): value for name, value in result.items()}
            self.say(f"already trained; test: {evaluate.line(means)}")
        else:
            means = self._measure("test", step, train_state, weighted=True)
            result = {f"test/{name}": value for name, value in means.items()}
            if distributed.is_primary():
                last.unlink(missing_ok=True)  # without it the last pictures are still to be drawn
            self._record("test", step, means)
        if distributed.is_primary() and not last.exists():
            run = self._with_prior(
                train_state,
                trained_run.MIXTURE_IMAGES,
                self.config.eval.mixture_components,
                final=True,
            )
            if run.mixture is not None:
                run.mixture.save(self.workdir / "mixture.npz", step)
            self._draw(run, f"after the evaluation at step {step}")
            self.say(f"pictures in {self._pictures}")
        distributed.on_primary(lambda: None)  # whoever ended first would be missed
        return result

    @property
    def _pictures(self) -> Path:
        return self.workdir / "pictures"

    def _tested(self, step: int) -> dict[str, float] | None:
        """The test metrics that were recorded after `step` steps."""
        both = [r for r in self.writer.records() if r["step"] == step and "test/loss" in r]
        return {k: v for k, v in both[0].items() if k.startswith("test/")} if both else None

    def _measure(
        self, split: str, step: int, train_state: TrainState, weighted: bool = False
    ) -> dict[str, float]:
        where = f"in the evaluation at step {step}"
        return self.evaluator(
            train_state.ema,
            getattr(self.splits, split),
            weighted=weighted,
            between=lambda: self.interrupt.check(where),
        ).means

    def _record(self, split: str, step: int, means: dict[str, float]) -> None:
        epoch = self.timetable.epoch(step)
        self.writer.write(step, epoch, {f"{split}/{name}": v for name, v in means.items()})
        count = len(getattr(self.splits, split))
        self.say(f"epoch {epoch:.3g}  {split} ({count:,} images): {evaluate.line(means)}")

    def _with_prior(
        self, train_state: TrainState, images: int, components: int, final: bool = False
    ) -> trained_run.Run:
        """The run as it is now, with a mixture over the codes where the model has no prior."""
        params = jax.device_get(train_state.ema)
        run = trained_run.Run(self.model, params, self.config, int(train_state.step))
        if self.model.has_prior:
            return run
        if final:
            self.say("fitting a mixture of Gaussians to the training codes")
        return run.with_mixture(trained_run.few(self.splits.train, images, self.config), components)

    def _draw(self, run: trained_run.Run, where: str) -> None:
        figures.draw(
            run,
            self.splits.valid,
            self.writer.records(),
            self._pictures,
            between=lambda: self.interrupt.check_alone(where),
        )
