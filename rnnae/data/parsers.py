"""How published files are read: bytes in, uint8 arrays out. To add a format, add its parser.

`published` has checked that the bytes are the published ones, or only their number where it says
so; a parser refuses with a DataError what is not of its format.
"""

import io

import numpy as np

from rnnae.errors import DataError


def parse_idx(payload: bytes) -> np.ndarray:
    """uint8 IDX (LeCun): images (n, H, W, 1) or labels (n,)."""
    rank = payload[3]
    shape = tuple(np.frombuffer(payload, ">u4", count=rank, offset=4).tolist())
    values = np.frombuffer(payload, np.uint8, offset=4 + 4 * rank)
    if payload[:3] != b"\x00\x00\x08" or values.size != np.prod(shape):
        raise DataError(f"not an IDX file of bytes: header {payload[:4].hex()}, {shape}")
    return values.reshape(*shape, 1) if rank == 3 else values


def parse_cifar(payload: bytes) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 binary layout (Krizhevsky 2009): images (n, 32, 32, 3) and labels (n,)."""
    if len(payload) % 3073:
        raise DataError(f"not a CIFAR-10 batch: {len(payload):,} bytes are not whole records")
    records = np.frombuffer(payload, np.uint8).reshape(-1, 3073)
    labels, planes = records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32)
    if labels.max(initial=0) > 9:
        raise DataError(f"not a CIFAR-10 batch: label {labels.max()} is not one of 0-9")
    return planes.transpose(0, 2, 3, 1), labels


def parse_amat(payload: bytes) -> np.ndarray:
    """Larochelle's text, 784 times "0 " or "1 " a line: pixels 0 or 1, (n, 28, 28, 1)."""
    if len(payload) % 1568:
        raise DataError(f"not a binarized_mnist text: {len(payload):,} bytes are not whole lines")
    bits = np.frombuffer(payload, np.uint8).reshape(-1, 1568)[:, ::2] - np.uint8(ord("0"))
    if bits.max(initial=0) > 1:
        raise DataError("not a binarized_mnist text: it has other characters than 0 and 1")
    return bits.reshape(-1, 28, 28, 1)


def parse_omniglot(payload: bytes) -> tuple[np.ndarray, np.ndarray]:
    """MATLAB file of Burda et al. (2016): training and test images, each (n, 28, 28, 1).

    Its intensities, real numbers in [0, 1], are rounded to the 256 levels of a byte.
    """
    from scipy.io import loadmat

    names = ("data", "testdata")
    try:
        variables = loadmat(io.BytesIO(payload), variable_names=names)
    except Exception as error:  # scipy raises nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"not a MATLAB file of OMNIGLOT ({reason})") from error
    train, test = (_omniglot_images(name, variables.get(name)) for name in names)
    return train, test


def _omniglot_images(name: str, values) -> np.ndarray:
    # MATLAB packs doubles that are whole numbers as integers.
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"not a MATLAB file of OMNIGLOT: it has no real numbers called {name}")
    if values.ndim != 2 or len(values) != 784:
        raise DataError(f"not a MATLAB file of OMNIGLOT: {name} is {values.shape}, not (784, n)")
    if not ((values >= 0) & (values <= 1)).all():  # in this form NaN fails too
        raise DataError(f"not a MATLAB file of OMNIGLOT: {name} has values outside [0, 1]")
    image_CWHB = np.rint(255.0 * values).astype(np.uint8).reshape(1, 28, 28, -1)
    return image_CWHB.transpose(3, 2, 1, 0)  # MATLAB stores the columns of an image, not its rows
