"""Models of other libraries, each a function `build(seed) -> Peer` that imports its library itself.

The model and its loss are the library's own. So are the settings: the optimizer, its learning rate
and the batch size are those of the library's example for this model.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Peer(NamedTuple):
    """A model of another library.

    Attributes:
        batch_size: images in a training step.
        parameters: how many numbers it learns.
        train_step: one step on float32 images of 0 and 1, (B, 28, 28, 1). It returns when the step
            is done.
        scores: the values of each such image, nats, (B,) each: `nll`, which is exact, or `bound`
            and `kl` from one sample of the latent.
    """

    batch_size: int
    parameters: int
    train_step: Callable[[np.ndarray], None]
    scores: Callable[[np.ndarray], dict[str, np.ndarray]]
