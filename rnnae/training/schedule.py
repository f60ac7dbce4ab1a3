"""What happens at which step: epochs, program calls, validations. Pure arithmetic."""

import dataclasses
from collections.abc import Iterator

import ml_collections

from rnnae.data import pipeline


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A run of `total` steps, each over `batch_size` of the `images` training images."""

    images: int
    batch_size: int
    total: int
    steps_per_call: int
    eval_every_epochs: int  # 0: never, because no images are held out for validation

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, images: int) -> "Schedule":
        """The schedule of a config with that many training images."""
        train, batch_size = config.train, config.data.batch_size
        total = train.max_steps or pipeline.epoch_end(train.epochs, images, batch_size)
        every = 0 if config.data.train_on_all else train.eval_every_epochs
        return cls(images, batch_size, total, train.steps_per_call, every)

    def epoch(self, step: int) -> float:
        """Passes over the training images after `step` steps."""
        return round(step * self.batch_size / self.images, 3)

    def validation_due(self, step: int) -> bool:
        """Whether to validate after `step` steps: after the first epoch, every `eval_every_epochs`
        epochs, and at the end."""
        if not self.eval_every_epochs or not step:
            return False
        epoch = step * self.batch_size // self.images
        complete = epoch and step == pipeline.epoch_end(epoch, self.images, self.batch_size)
        due = epoch == 1 or epoch % self.eval_every_epochs == 0
        return bool(complete and due) or step == self.total

    def calls(self, step: int) -> Iterator[tuple[int, int]]:
        """(first step, number of steps) of each program call from `step` on.

        Calls end at the ends of epochs and at multiples of `steps_per_call` within an epoch. That
        is a function of the step alone, so a continued run makes the same calls as an unbroken one.
        """
        while step < self.total:
            epoch = step * self.batch_size // self.images
            start, end = (
                pipeline.epoch_end(e, self.images, self.batch_size) for e in (epoch, epoch + 1)
            )
            left_in_call = self.steps_per_call - (step - start) % self.steps_per_call
            count = min(left_in_call, end - step, self.total - step)
            yield step, count
            step += count
