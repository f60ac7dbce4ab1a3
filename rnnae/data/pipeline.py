"""Splits of a data set and the batches of a run: a batch is a pure function of (seed, step).

Images stay uint8 on the host; `to_unit` makes float32 intensities of them on the device. Two
protocols of binarisation: static (a set of its own, `binarized_mnist`) and dynamic, a Bernoulli of
the intensities, fresh at each training visit (`binarise`), once for the test (`binarise_once`).
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnae.data import datasets, decode_cache, folder
from rnnae.devices import distributed
from rnnae.errors import ConfigError, DataError

VALIDATION_IMAGES = 10_000  # the last of the training records, where no validation is published
BINARISE_STREAM = 0x62696E  # second word of the Philox key of `binarise_once`: fixed for good

Source = np.ndarray | folder.Images  # uint8 (n, H, W, C), indexed by arrays of indices


class Splits(NamedTuple):
    """uint8 images; `valid` is part of `train` when a run trains on all."""

    train: Source
    valid: Source
    test: Source


def load(
    *,
    name: str,
    data_dir: str,
    source_dir: str,
    shape: tuple[int, int, int],
    train_on_all: bool,
    train_images: int,
    in_memory_gib: float,
    seed: int,
) -> Splits:
    """The three splits of `name`, prepared if need be; in memory up to `in_memory_gib` each.

    Records come in the order of the TFDS directory, a fixed shuffle of the published order.
    `train_images` takes the first n of what would be trained on (0: all).
    """
    shape = tuple(shape)
    prepare = functools.partial(
        datasets.prepare, name, data_dir=data_dir, source_dir=source_dir, shape=shape, seed=seed
    )
    if distributed.several():  # the others wait, and find it done where they share the disk
        distributed.on_primary(lambda: str(prepare()))
    path = prepare()
    train, valid, test = _split_names(name, datasets.split_sizes(path))
    if train_on_all:
        train = "train" if valid.startswith("train[") else f"{train}+{valid}"
    names = train, valid, test
    sources = [datasets.open_split(path, split, shape=shape) for split in names]
    if train_images:
        if not 0 < train_images <= len(sources[0]):
            raise ConfigError(
                f"--config.data.train_images={train_images} is not among the {len(sources[0]):,} "
                f"training images of {name} (0 for all)"
            )
        sources[0] = sources[0].first(train_images)
    limit = in_memory_gib * 2**30
    return Splits(
        *(
            decode_cache.load(source, split, Path(path))
            if np.prod(source.shape, dtype=float) <= limit
            else source
            for source, split in zip(sources, names, strict=True)
        )
    )


def fingerprint(splits: Splits) -> str:
    """16 hexadecimal digits that other images change; of a large split, a thousand of it do."""
    digest = hashlib.sha256()
    for images in splits:
        digest.update(repr(images.shape).encode())
        some = np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(int)
        digest.update(np.ascontiguousarray(images[some]))
    return digest.hexdigest()[:16]


def _split_names(name: str, sizes: dict[str, int]) -> tuple[str, str, str]:
    """TFDS names of train, validation and test; a set without a test split tests on validation."""
    test = next((split for split in ("test", "validation") if split in sizes), None)
    if "train" not in sizes or test is None:
        raise DataError(f"{name} has the splits {', '.join(sizes)}: train and test are needed")
    if "validation" in sizes and test != "validation":
        return "train", "validation", test
    n = sizes["train"]
    held_out = VALIDATION_IMAGES if n > VALIDATION_IMAGES else -(-n // 6)
    return f"train[:{n - held_out}]", f"train[{n - held_out}:]", test


@functools.lru_cache(maxsize=2)  # a batch may need the end of one epoch and the start of the next
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def _indices(n: int, *, seed: int, step: int, size: int) -> np.ndarray:
    """Positions [step * size, (step + 1) * size) of all epochs' permutations, end to end."""
    parts, position, end = [], step * size, (step + 1) * size
    while position < end:
        epoch, start = divmod(position, n)
        parts.append(_permutation(seed, epoch, n)[start : start + end - position])
        position += len(parts[-1])
    return np.concatenate(parts)


def batch(images: Source, *, seed: int, step: int, size: int) -> np.ndarray:
    """uint8 image_BHWC of `step`. Each epoch visits each image once; a batch may straddle two."""
    return images[_indices(len(images), seed=seed, step=step, size=size)]


def epoch_end(epoch: int, n: int, size: int) -> int:
    """The number of steps after which `epoch` epochs of n images are complete."""
    return -(-epoch * n // size)


def stream(
    images: Source,
    calls: Iterable[tuple[int, int]],
    *,
    seed: int,
    size: int,
    part: slice = slice(None),
) -> Iterator[np.ndarray]:
    """uint8 (count, B, H, W, C) of each (first_step, count), read one call ahead in a thread; B is
    `size`, or what `part` of a batch has."""

    def read(first_step: int, count: int) -> np.ndarray:
        steps = range(first_step, first_step + count)
        parts = [_indices(len(images), seed=seed, step=step, size=size)[part] for step in steps]
        return images[np.concatenate(parts)].reshape(count, -1, *images.shape[1:])

    with ThreadPoolExecutor(1, thread_name_prefix="data") as executor:
        ahead = None
        for call in calls:
            ready, ahead = ahead, executor.submit(read, *call)
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()


def padded_batches(images: Source, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every image once, in order: (image_BHWC uint8, position_B int32), the last batch padded with
    zeros, whose positions are those of no image, from len(images) on."""
    for start in range(0, len(images), size):
        image_BHWC = images[np.arange(start, min(start + size, len(images)))]
        padding = [(0, size - len(image_BHWC)), *[(0, 0)] * 3]
        yield np.pad(image_BHWC, padding), np.arange(start, start + size, dtype=np.int32)


def protocol(images: Source, binarise: str) -> str:
    """The name of what is modelled, without which its nats compare with nothing: `dynamic`,
    `static` (a set of binary images) or `8bit`."""
    if not isinstance(images, np.ndarray):
        images = images[np.arange(min(len(images), 1000))]
    if np.all((images == 0) | (images == 255)):
        return "static"  # whatever `binarise` is: it leaves them as they are
    return "dynamic" if binarise == "dynamic" else "8bit"


def held_out(images: Source, binarise: str, seed: int) -> Source:
    """The images of a split as the protocol evaluates them: `dynamic` binarises them once."""
    if binarise == "dynamic":
        return binarise_once(images[np.arange(len(images))], seed)
    return images


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 -> float32 intensities in [0, 1]."""
    return jnp.asarray(image, jnp.float32) / 255.0


def binarise(x_BHWC: jax.Array, key_B: jax.Array) -> jax.Array:
    """float32 0 or 1, Bernoulli(intensity): one key an example, so devices may share the batch."""
    return jax.vmap(jax.random.bernoulli)(key_B, x_BHWC).astype(jnp.float32)


def binarise_once(images: np.ndarray, seed: int) -> np.ndarray:
    """uint8 0 or 255, Bernoulli(intensity), the same for a seed everywhere and always."""
    # Raw Philox words: NumPy may change what a Generator makes of them. 0 is never lit, 255 always.
    raw = np.random.Philox(key=[seed, BINARISE_STREAM]).random_raw(images.size)
    uniform = (raw >> 11).reshape(images.shape) * 2.0**-53
    return np.where(uniform * 255 < images, np.uint8(255), np.uint8(0))
