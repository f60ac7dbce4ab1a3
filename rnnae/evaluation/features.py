"""Features of images by a shipped classifier, for the metrics of `sample_metrics`.

To add features for a data set, train a classifier on it, save its weights (`experiments/ship.py`),
and add its line to `FEATURES`.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rnnae import files
from rnnae.errors import ConfigError
from rnnae.evaluation import batched, classes
from rnnae.records import weights
from rnnae.records.weights import Weights

# (data set, protocol of its images) -> name of the weights
FEATURES = {
    ("mnist", "8bit"): "rows64",
    ("mnist", "dynamic"): "rows64_dynamic",
    ("binarized_mnist", "static"): "rows64_dynamic",
}

HOW_TO_GET = (
    "train a classifier on your images as in configs/mnist_features.py, save it with "
    "experiments.ship, and give its directory as config.eval.features"
)


class Features(NamedTuple):
    """A classifier whose activations before the output layer are the features."""

    name: str
    weights: Weights
    most: int = 0  # devices to use, at most; 0 for all of this process

    def __call__(self, images_NHWC: np.ndarray) -> np.ndarray:
        """float32 features (N, D) of uint8 images."""
        return self._apply("encode_features", images_NHWC)

    def predict(self, images_NHWC: np.ndarray) -> np.ndarray:
        """The most probable class of each image, (N,)."""
        return np.argmax(self._apply("logits", images_NHWC), axis=1)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that it distinguishes."""
        return classes.class_names(self.weights.config)

    def _apply(self, method: str, images_NHWC: np.ndarray) -> np.ndarray:
        model, params = self.weights.model, self.weights.params
        batched.check_array("images", images_NHWC, np.uint8, model.image_shape)
        return batched.apply(model, params, method, [images_NHWC], most=self.most)


def choose(config: ConfigDict, protocol: str, image_shape: tuple[int, int, int]) -> Features | None:
    """The features of `config.eval.features`, or those for the data set and the protocol; None if
    there are none.

    Raises ConfigError for weights that are not there, that are no classifier, or that are for
    images of another size.
    """
    name = config.eval.features or FEATURES.get((config.data.name, protocol))
    if not name:
        return None
    found = weights.load(name)
    if found.model.generative or found.model.image_shape != image_shape:
        raise ConfigError(
            f"config.eval.features={name} is no classifier of images of "
            f"{'x'.join(map(str, image_shape))}: {HOW_TO_GET}"
        )
    return Features(files.expand(name).resolve().name, found, config.devices)
