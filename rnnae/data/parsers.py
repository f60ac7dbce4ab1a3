"""Parsers of the formats of published files: from bytes to uint8 arrays.

`sources` has verified the checksum of the bytes, or at least their size for files of which other
versions are accepted. A parser raises a DataError for content that does not have its format.
To add a format, add its function here and use it in the entry of the data set in `datasets`.
"""

import io
from pathlib import Path

import numpy as np

from rnnae.errors import DataError, one_line

_AMAT_LINE = 1568  # bytes: 784 digits, each followed by a space or the end of the line


def parse_idx(content: bytes) -> np.ndarray:
    """IDX files of MNIST (LeCun): uint8 images (N, H, W, 1) or labels (N,)."""
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"not an IDX file of bytes: its header is {content[:4].hex()}")
    rank = content[3]
    shape = tuple(np.frombuffer(content, ">u4", count=rank, offset=4).tolist())
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if values.size != np.prod(shape):
        raise DataError(f"not an IDX file: its shape is {shape}, but it has {values.size:,} values")
    return values.reshape(*shape, 1) if rank == 3 else values


def parse_cifar(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Binary files of CIFAR-10 (Krizhevsky 2009): uint8 images (N, 32, 32, 3) and labels (N,)."""
    if len(content) % 3073:
        raise DataError(
            f"not a CIFAR-10 file: its {len(content):,} bytes are not a multiple of 3,073"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    labels, planes_NCHW = records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32)
    if labels.max(initial=0) > 9:
        raise DataError(f"not a CIFAR-10 file: it has the label {labels.max()}, which is above 9")
    return planes_NCHW.transpose(0, 2, 3, 1), labels


def parse_amat(content: bytes) -> np.ndarray:
    """Text files of binarized MNIST (Larochelle): uint8 images (N, 28, 28, 1) of 0 and 1.

    A line is an image: 784 digits with spaces between them.
    """
    if len(content) % _AMAT_LINE:
        raise DataError(
            f"not a file of binarized MNIST: its {len(content):,} bytes are not complete lines"
        )
    bits = np.frombuffer(content, np.uint8).reshape(-1, _AMAT_LINE)[:, ::2] - np.uint8(ord("0"))
    if bits.max(initial=0) > 1:
        raise DataError("not a file of binarized MNIST: it has other digits than 0 and 1")
    return bits.reshape(-1, 28, 28, 1)


def amat_from_npz(path: Path, file: str, limit: int) -> bytes:
    """At most `limit` bytes of a text file of binarized MNIST, rebuilt from a NumPy archive.

    The archive has an array for each split (train, valid, test), with 8 pixels packed into a byte.
    The text is rebuilt so that its published checksum can be verified.
    """
    split = file.removeprefix("binarized_mnist_").removesuffix(".amat")
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as packed:
        bits = np.unpackbits(packed[split], axis=1, count=784)
    text = np.full((*bits.shape, 2), ord(" "), np.uint8)
    text[..., 0] = bits + ord("0")
    text[:, -1, 1] = ord("\n")
    return text.reshape(-1)[:limit].tobytes()


def parse_omniglot(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The MATLAB file of Burda et al. (2016): uint8 training and test images (N, 28, 28, 1).

    The file has real numbers in [0, 1]; they are rounded to the nearest of 256 levels.
    """
    from scipy.io import loadmat

    names = ("data", "testdata")
    try:
        variables = loadmat(io.BytesIO(content), variable_names=names)
    except Exception as error:  # scipy raises errors of many types for damaged files
        raise DataError(f"not a MATLAB file of OMNIGLOT ({one_line(error)})") from error
    train, test = (_omniglot_images(name, variables.get(name)) for name in names)
    return train, test


def _omniglot_images(name: str, values) -> np.ndarray:
    # MATLAB stores numbers as integers where all of them are whole.
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"not a MATLAB file of OMNIGLOT: it has no real numbers called {name}")
    if values.ndim != 2 or len(values) != 784:
        raise DataError(f"not a MATLAB file of OMNIGLOT: {name} is {values.shape}, not (784, n)")
    if not ((values >= 0) & (values <= 1)).all():  # written so that NaN fails too
        raise DataError(f"not a MATLAB file of OMNIGLOT: {name} has values outside [0, 1]")
    image_CWHN = np.rint(255.0 * values).astype(np.uint8).reshape(1, 28, 28, -1)
    return image_CWHN.transpose(3, 2, 1, 0)  # MATLAB stores an image column by column
