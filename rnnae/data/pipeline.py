"""Loads the splits of a data set, and makes batches of them that depend only on (seed, step).

Images stay uint8 on the host until a batch reaches the device; see `binarisation` for what happens
to them there. Labels are int32: the index of a class, or -1 where the class is not known.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rnnae.data import decode_cache, labels, tfds_directory
from rnnae.data.images import ImageArray, ReadOptions
from rnnae.data.prepare import prepare
from rnnae.data.splits import Labels, Splits
from rnnae.errors import ConfigError, DataError
from rnnae.types import Batch

VALIDATION_IMAGES = 10_000  # held out at the end of train, for sets without a validation split


def load(
    *,
    name: str,
    data_dir: str,
    source_dir: str,
    shape: tuple[int, int, int],
    train_on_all: bool,
    train_images: int,
    in_memory_gib: float,
    split_seed: int = 0,
    background: str = "",
    skip_bad_images: bool = False,
    max_megapixels: float = 200.0,
    log: Callable[[str], None] = lambda line: None,
) -> Splits:
    """The three splits of the data set `name`, which is prepared first if necessary.

    The images are in the order of the TFDS directory, which is a fixed shuffle of the published
    order.

    Args:
        name, data_dir, source_dir, shape, split_seed, skip_bad_images: see `prepare`.
        train_on_all: train on the validation images too.
        train_images: use only the first n training images; 0 for all.
        in_memory_gib: the largest size of a split, in GiB, that is loaded into memory. A larger
            one stays on disk.
        background, max_megapixels: see `ReadOptions`.
        log: gets lines about how many images of which folders went where.

    Raises:
        ConfigError: `name`, `shape` or `train_images` is not possible.
        DataError: files are missing or damaged, or the data set lacks a split.
    """
    shape = tuple(shape)
    options = ReadOptions(background, max_megapixels)
    path = prepare(
        name,
        data_dir=data_dir,
        source_dir=source_dir,
        shape=shape,
        split_seed=split_seed,
        options=options,
        skip_bad_images=skip_bad_images,
        log=log,
    )
    train, valid, test = _split_names(name, tfds_directory.split_sizes(path))
    if train_on_all:
        train = "train" if valid.startswith("train[") else f"{train}+{valid}"
    names = train, valid, test
    splits = [
        tfds_directory.open_split(path, split, shape=shape, options=options) for split in names
    ]
    sizes = [(split, len(images)) for split, images in zip(names, splits, strict=True)]
    read_labels, class_names = labels.open_labels(path, sizes)
    if train_images:
        if not 0 < train_images <= len(splits[0]):
            raise ConfigError(
                f"--config.data.train_images={train_images} is not possible: {name} has "
                f"{len(splits[0]):,} training images (0 uses all of them)"
            )
        splits[0] = splits[0].first(train_images)
    numbers = [f"{len(images):,}" for images in splits]
    with_valid = ", those of validation included" if train_on_all else ""
    log(
        f"{name}: {numbers[0]} images for training{with_valid}, {numbers[1]} for validation, "
        f"{numbers[2]} for testing"
    )
    limit = in_memory_gib * 2**30
    images = (
        decode_cache.load(images, split, path)
        if np.prod(images.shape, dtype=float) <= limit
        else images
        for images, split in zip(splits, names, strict=True)
    )
    if read_labels is None:
        return Splits(*images)
    count = len(splits[0])

    def load_labels() -> Labels:
        train, valid, test = read_labels()
        return Labels(train[:count], valid, test)

    return Splits(*images, load_labels, class_names)


def _split_names(name: str, sizes: dict[str, int]) -> tuple[str, str, str]:
    """TFDS names of train, valid and test, from the size of each split of the data set.

    Without a test split, the validation split is the test split. Without a validation split, the
    end of train is held out for validation.
    """
    test = next((split for split in ("test", "validation") if split in sizes), None)
    if "train" not in sizes or test is None:
        raise DataError(
            f"{name} has the splits {', '.join(sizes)}, but needs a split called train and one "
            f"called test or validation"
        )
    if "validation" in sizes and test != "validation":
        return "train", "validation", test
    n = sizes["train"]
    held_out = VALIDATION_IMAGES if n > VALIDATION_IMAGES else -(-n // 6)
    return f"train[:{n - held_out}]", f"train[{n - held_out}:]", test


@functools.lru_cache(maxsize=2)  # a batch may need the end of one epoch and the start of the next
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def batch_indices(n: int, *, seed: int, step: int, batch_size: int) -> np.ndarray:
    """The indices (B,) of the images of `step`, out of n.

    The permutations of all epochs follow each other without a gap, and step s has the indices from
    s * batch_size to (s + 1) * batch_size of that sequence.
    """
    pieces, position, end = [], step * batch_size, (step + 1) * batch_size
    while position < end:
        epoch, start = divmod(position, n)
        pieces.append(_permutation(seed, epoch, n)[start : start + end - position])
        position += len(pieces[-1])
    return np.concatenate(pieces)


def batch(
    images: ImageArray, label_N: np.ndarray | None, *, seed: int, step: int, batch_size: int
) -> Batch:
    """The batch of `step`.

    Every epoch has every image once. A batch may have the last images of one epoch and the first of
    the next. Without `label_N`, all labels are -1.
    """
    indices = batch_indices(len(images), seed=seed, step=step, batch_size=batch_size)
    return Batch(images[indices], _labels_at(label_N, indices))


def _labels_at(label_N: np.ndarray | None, indices: np.ndarray) -> np.ndarray:
    """The labels of these images, -1 if there are no labels."""
    return np.full(indices.shape, -1, np.int32) if label_N is None else label_N[indices]


def epoch_end(epoch: int, n: int, batch_size: int) -> int:
    """The number of steps after which `epoch` epochs of n images are complete."""
    return -(-epoch * n // batch_size)


def stream(
    images: ImageArray,
    label_N: np.ndarray | None,
    calls: Iterable[tuple[int, int]],
    *,
    seed: int,
    batch_size: int,
    local_slice: slice = slice(None),
) -> Iterator[Batch]:
    """The batches of each program call, loaded one call ahead in a background thread.

    Args:
        images: the training images.
        label_N: their labels; None if no class is known.
        calls: (first step, number of steps K) of each call.
        seed: of the permutations.
        batch_size: images in a batch, over all processes.
        local_slice: the part of each batch that this process trains on; by default all of it.

    Yields:
        For each call its images (K, B, H, W, C) and labels (K, B), where B is the size of
        `local_slice` of a batch.
    """

    def load_call(first_step: int, count: int) -> Batch:
        steps = range(first_step, first_step + count)
        indices = [
            batch_indices(len(images), seed=seed, step=step, batch_size=batch_size)[local_slice]
            for step in steps
        ]
        indices_KB = np.stack(indices)
        image_KBHWC = images[indices_KB.reshape(-1)].reshape(*indices_KB.shape, *images.shape[1:])
        return Batch(image_KBHWC, _labels_at(label_N, indices_KB))

    with ThreadPoolExecutor(1, thread_name_prefix="data") as executor:
        ahead = None
        for call in calls:
            ready, ahead = ahead, executor.submit(load_call, *call)
            if ready is not None:
                yield ready.result()
        if ahead is not None:
            yield ahead.result()


def padded_batches(images: ImageArray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every image once, in order, in batches of the same size.

    Yields:
        (uint8 image_BHWC, int32 position_B). The last batch is padded with black images, whose
        positions are len(images) and above.
    """
    for start in range(0, len(images), batch_size):
        image_BHWC = images[np.arange(start, min(start + batch_size, len(images)))]
        padding = [(0, batch_size - len(image_BHWC)), *[(0, 0)] * 3]
        yield np.pad(image_BHWC, padding), np.arange(start, start + batch_size, dtype=np.int32)
