"""What happens at which step: epochs, program calls, validations. Pure arithmetic."""

import dataclasses
from collections.abc import Iterator

import ml_collections

from rnnae.data import pipeline


@dataclasses.dataclass(frozen=True)
class Timetable:
    """A run of `total` steps, `size` of `images` images each."""

    images: int
    size: int
    total: int
    steps_per_call: int
    eval_every_epochs: int  # 0: never, there is nothing held out

    @classmethod
    def of(cls, config: ml_collections.ConfigDict, images: int) -> "Timetable":
        """The timetable of a config that trains on so many images."""
        train, size = config.train, config.data.batch_size
        total = train.max_steps or pipeline.epoch_end(train.epochs, images, size)
        every = 0 if config.data.train_on_all else train.eval_every_epochs
        return cls(images, size, total, train.steps_per_call, every)

    def epoch(self, step: int) -> float:
        """Passes over the training images after `step` steps."""
        return round(step * self.size / self.images, 3)

    def validation_due(self, step: int) -> bool:
        """After the first epoch, every `eval_every_epochs`, and at the end."""
        if not self.eval_every_epochs or not step:
            return False
        epoch = step * self.size // self.images
        complete = epoch and step == pipeline.epoch_end(epoch, self.images, self.size)
        turn = epoch == 1 or epoch % self.eval_every_epochs == 0
        return bool(complete and turn) or step == self.total

    def calls(self, step: int) -> Iterator[tuple[int, int]]:
        """(first step, count) of each program call from `step` on.

        Calls end at epochs' ends and at multiples of `steps_per_call` inside an epoch: a function
        of the step alone, so a continued run makes the very calls that the unbroken one makes.
        """
        while step < self.total:
            epoch = step * self.size // self.images
            start, end = (pipeline.epoch_end(e, self.images, self.size) for e in (epoch, epoch + 1))
            left_in_call = self.steps_per_call - (step - start) % self.steps_per_call
            count = min(left_in_call, end - step, self.total - step)
            yield step, count
            step += count
