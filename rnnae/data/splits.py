"""`Splits`: the images of a data set and their labels, in three splits."""

import functools
import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnnae.data.images import ImageArray
from rnnae.errors import ConfigError

_MOST_TRAINING_IMAGES = 10_000  # that an evaluation measures


class Labels(NamedTuple):
    """int32 labels (N,) of the images of each split, in their order; -1 is an unknown class."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


class Splits:
    """The images of a data set, and the classes that they belong to.

    Attributes:
        train, valid, test: uint8 images (N, H, W, C). When a run trains on all images, `valid` is a
            part of `train`.
        class_names: the names of the classes, in the order of the labels; () if there are none.
    """

    def __init__(
        self,
        train: ImageArray,
        valid: ImageArray,
        test: ImageArray,
        labels: Labels | Callable[[], Labels] | None = None,
        class_names: tuple[str, ...] = (),
    ):
        """`labels` may be a function, which is called when the labels are asked for first. Without
        `labels`, all are -1."""
        self.train, self.valid, self.test = train, valid, test
        self.class_names = class_names
        self._given_labels = labels

    @property
    def images(self) -> tuple[ImageArray, ImageArray, ImageArray]:
        """Those of train, valid and test."""
        return self.train, self.valid, self.test

    @functools.cached_property
    def labels(self) -> Labels:
        """The label of every image. DataError if the records on disk are damaged."""
        given = self._given_labels
        if given is None:
            return Labels(*(np.full(len(images), -1, np.int32) for images in self.images))
        return given() if callable(given) else given

    def fingerprint(self, with_labels: bool = False) -> str:
        """16 hexadecimal digits that identify the images of a run.

        They change with the number and shape of the images and with any pixel of up to 1,000 images
        of each split, which are evenly spaced. With `with_labels` they also change with any label
        and with the names of the classes.
        """
        digest = hashlib.sha256()
        for images in self.images:
            digest.update(repr(images.shape).encode())
            some = np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(int)
            digest.update(np.ascontiguousarray(images[some]))
        if with_labels:
            digest.update(repr(self.class_names).encode())
            for label_N in self.labels:
                digest.update(np.ascontiguousarray(label_N, np.int32))
        return digest.hexdigest()[:16]

    def to_measure(self, split: str, classes: int) -> tuple[ImageArray, np.ndarray | None]:
        """(images, labels) of `split` that an evaluation of a model of `classes` classes measures:
        the first 10,000 training images, or all of valid or test. The labels are None for a model
        that is told no class."""
        images, count = getattr(self, split), self.count_measured(split)
        label_N = getattr(self.labels, split)[:count] if classes else None
        return images if count == len(images) else images[:count], label_N

    def count_measured(self, split: str) -> int:
        """How many images `to_measure` gives."""
        count = len(getattr(self, split))
        return min(count, _MOST_TRAINING_IMAGES) if split == "train" else count

    def check_classes(self, classes: int) -> None:
        """ConfigError unless a model of `classes` classes can be trained on these labels. A model
        without classes (0) can be trained on any images."""
        if not classes:
            return
        key, there = f"config.model.classes={classes}", len(self.class_names)
        if not there:
            raise ConfigError(f"{key}, but these images have no labels: use 0")
        if classes != there:
            raise ConfigError(f"{key}, but these images have {there} classes: use {there}, or 0")
        if any((label_N < 0).any() for label_N in self.labels):
            raise ConfigError(f"{key}, but the class of some images is unknown: use 0")
