"""Compresses binary images by the probabilities of a model, and restores them bit for bit.

    pip install ".[compress]"
    python examples/compress.py compress digits.npy digits.rnnae
    python examples/compress.py decompress digits.rnnae restored.npy
    python examples/compress.py compare    # with PNG and others, on 1,000 test images

Images are uint8 (N, H, W, 1), 0 and 255, in a .npy file, or one image in a .png file. A sweep model
without a latent gives the probability p of each token given the tokens before it, and a range coder
(Martin 1979) spends about -log2 p bits on the token. So the size of the file is the negative
log-likelihood of the images, if what the model reports is true.

Both directions run the sampler of the model, token by token, as the same compiled program. A
function on the host chooses the tokens: compressing, it knows them; decompressing, it gets them
from the coder. Another kind of machine or other versions may round probabilities differently, and
then the coder goes astray. So the file has a digest of all probabilities and images. If
decompressing computes another one, nothing is written.

Exit codes: 0 done, 2 a flag or the weights do not fit, 5 the images or the file do not fit or are
damaged, 7 a file cannot be read or written.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from PIL import Image

import rnnae
from rnnae import build, files
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae.data.binarisation import binarise_once
from rnnae.errors import ConfigError, DataError, import_optional, one_line
from rnnae.evaluation import batched, mixture
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.likelihoods.binary import Categorical
from rnnae.models import Autoencoder

# What the config of the weights must have.
_NEEDS = {"model.name": "sweep", "latent.name": "none", "likelihood.name": "categorical"}
_NEEDS |= {"model.orders": 1, "data.shape[2]": 1}
# A file is a header, the words of the coder (uint32), and the CRC-32 of all bytes before it.
_MAGIC = b"rnnae\x01"  # its last byte is the version of the format
_HEADER = struct.Struct("<6sI8s8s")  # magic, number of images, digests of weights and of the coding
_BATCH = 1000  # most images that are coded together; a part of the format


@dataclasses.dataclass(frozen=True)
class ChosenPatterns(Categorical):
    """A categorical likelihood whose samples a function on the host chooses: given p_BHWCK of the K
    patterns, it returns an index for each block, int32 (B, H, W, C)."""

    choose: Callable[[jax.Array], np.ndarray] = dataclasses.field(kw_only=True)

    def sample(self, params_BHWP, key_B):
        p_BHWCK = jax.nn.softmax(self._logits(params_BHWP))
        index_BHWC = jax.ShapeDtypeStruct(p_BHWCK.shape[:-1], jnp.int32)
        return self._to_image(self._bits()[io_callback(self.choose, index_BHWC, p_BHWCK)])


def _sample(run: TrainedRun, count: int, code: Callable) -> tuple[np.ndarray, bytes]:
    """The images whose patterns `code` chooses, and a digest of all probabilities and images.

    `code(p_XK)` returns the next patterns, int32 (X,), whose probabilities are given: the first
    pattern of every image of a batch, then the second one of every image, and so on.
    """
    seen, images = hashlib.sha256(), []

    def choose(p_BHWCK):
        p_BSK = np.asarray(p_BHWCK).reshape(len(p_BHWCK), -1, p_BHWCK.shape[-1])
        p_XK = np.ascontiguousarray(p_BSK.swapaxes(0, 1)).reshape(-1, p_BSK.shape[-1])
        seen.update(p_XK)
        return code(p_XK).reshape(-1, len(p_BSK)).T.reshape(p_BHWCK.shape[:-1])

    likelihood = ChosenPatterns(**dataclasses.asdict(run.model.likelihood), choose=choose)
    model = run.model.clone(likelihood=likelihood)
    program = jax.jit(functools.partial(model.apply, method="decode_sample"))
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        inputs = jnp.zeros((size, 0)), jax.random.split(jax.random.key(0), size)  # no latent
        images.append(batched.to_uint8(np.asarray(program({"params": run.params}, *inputs))))
        seen.update(images[-1])
    return np.concatenate(images), seen.digest()[:8]


def compress(run: TrainedRun, images_NHWC: np.ndarray) -> bytes:
    """The file of one or more images."""
    queue, categorical, weights = _coder(run)
    encoder, index_NS = queue.RangeEncoder(), _patterns(run.model, images_NHWC)
    batches = np.split(index_NS, range(_BATCH, len(index_NS), _BATCH))
    known = itertools.chain.from_iterable(index_BS.T.flat for index_BS in batches)

    def encode(p_XK):
        index_X = np.fromiter(known, np.int32, len(p_XK))
        encoder.encode(index_X, categorical, p_XK)
        return index_X

    restored_NHWC, digest = _sample(run, len(images_NHWC), encode)
    assert np.array_equal(restored_NHWC, images_NHWC), "the model samples in another order"
    header = _HEADER.pack(_MAGIC, len(images_NHWC), weights, digest)
    content = header + encoder.get_compressed().tobytes()
    return content + struct.pack("<I", zlib.crc32(content))


def decompress(run: TrainedRun, content: bytes) -> np.ndarray:
    """The images of a file. DataError if it is damaged or was made by another kind of machine,
    ConfigError if it was made with other weights."""
    queue, categorical, weights = _coder(run)
    if not content.startswith(_MAGIC):
        raise DataError("this is no file of `compress`, or one of another version of it")
    content, check = content[:-4], content[-4:]
    if len(content) < _HEADER.size or struct.pack("<I", zlib.crc32(content)) != check:
        raise DataError("the file is damaged or incomplete: get it again")
    _, count, weights_of_file, digest_of_file = _HEADER.unpack_from(content)
    if weights_of_file != weights:
        raise ConfigError("the file was made with other weights: name them by --weights")
    decoder = queue.RangeDecoder(np.frombuffer(content[_HEADER.size :], np.uint32))

    def decode(p_XK):
        try:
            return decoder.decode(categorical, p_XK)
        except AssertionError:  # the coder went astray, and the digests will differ
            return np.zeros(len(p_XK), np.int32)

    images_NHWC, digest = _sample(run, count, decode)
    if digest != digest_of_file:
        raise DataError(
            "the probabilities are not those with which the file was made: use the same versions "
            "of jax and constriction on the same kind of machine"
        )
    return images_NHWC


def _coder(run: TrainedRun):
    """The module of range coders, the distribution by which they code, which rounds probabilities
    to multiples of 2^-24, and a digest of the weights. ConfigError if they cannot be used."""
    has = config_lib.flat(run.config.to_dict()) | {"data.shape[2]": run.model.image_shape[2]}
    for key, value in _NEEDS.items():
        if has[key] != value:
            raise ConfigError(
                f"these weights have config.{key}={has[key]}: name others by --weights, with "
                f"config.{key}={value}"
            )
    constriction = import_optional("constriction", 'pip install ".[compress]"')
    categorical = constriction.stream.model.Categorical(perfect=False)
    weights = bytes.fromhex(mixture.digest(run.params))[:8]
    return constriction.stream.queue, categorical, weights


def _patterns(model: Autoencoder, images_NHWC: np.ndarray) -> np.ndarray:
    """The patterns of each image in the order in which the model samples them, int32 (N, S)."""
    block, patch = model.likelihood.block, model.options.patch
    count, height, width, _ = images_NHWC.shape
    split = (height // patch, patch // block, block, width // patch, patch // block, block)
    powers = (1 << np.arange(block * block)).reshape(block, block)
    # Tokens (r, q), their blocks (y, x), the pixels of a block (i, j).
    index = np.einsum("nryiqxj,ij->nrqyx", images_NHWC.reshape(count, *split) // 255, powers)
    return index.reshape(count, -1).astype(np.int32)


def read_images(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 (N, *shape), 0 and 255, of one or more images; DataError for anything else."""
    content = io.BytesIO(files.read_bytes(path))
    try:
        if path.suffix.lower() == ".png":
            images = np.asarray(Image.open(content).convert("L"))[None, ..., None]
        else:
            images = np.asarray(np.load(content, allow_pickle=False))
        values = np.unique(images)
    except Exception as error:  # damaged files raise all kinds
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    right = images.dtype == np.uint8 and images.shape[1:] == shape and images.size
    if not right or set(values) - {0, 255}:
        raise DataError(
            f"{path} must have images, uint8 (N, {', '.join(map(str, shape))}) of values 0 and "
            f"255, and has {images.dtype} {images.shape} of {len(values)} values; "
            "rnnae.data.binarisation.binarise_once makes binary images of grey ones"
        )
    return images


def file_of_images(images_NHWC: np.ndarray, ending: str) -> bytes:
    """The content of a .npy file, or that of a .png file with all images as one `picture`."""
    if ending.lower() == ".png":
        return _pillow(picture(images_NHWC), "PNG")
    file = io.BytesIO()
    np.save(file, images_NHWC)
    return file.getvalue()


def picture(images_NHWC: np.ndarray) -> Image.Image:
    """The images in a square grid, black where there are none; a single image is its own."""
    count, height, width, _ = images_NHWC.shape
    side = math.ceil(math.sqrt(count))
    grid = np.zeros((-(-count // side) * side, height, width), np.uint8)
    grid[:count] = images_NHWC[..., 0]
    grid = grid.reshape(-1, side, height, width).swapaxes(1, 2)
    return Image.fromarray(grid.reshape(-1, side * width))


def _pillow(image: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _jbig2(image: Image.Image) -> bytes:
    """By the command of jbig2enc, which is lossless by default."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        image.convert("1").save(file.name)
        return subprocess.run(["jbig2", file.name], check=True, capture_output=True).stdout


# Lossless. KeyError where Pillow does not have the format, FileNotFoundError without the command.
FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda image: _pillow(image.convert("1"), "PNG", optimize=True),
    "WebP": lambda image: _pillow(image, "WEBP", lossless=True, quality=100, method=6),
    "JPEG XL": lambda image: _pillow(image, "JXL", lossless=True, effort=9),
    "JBIG2": _jbig2,
}


def compare(run: TrainedRun, images_NHWC: np.ndarray) -> None:
    """Prints the size that the model reports, that of its file, and those of other formats."""
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401  # JPEG XL for Pillow: pip install pillow-jxl-plugin
    count, times = len(images_NHWC), [time.perf_counter()]
    content = compress(run, images_NHWC)
    times.append(time.perf_counter())
    restored_NHWC = decompress(run, content)
    times.append(time.perf_counter())
    assert np.array_equal(restored_NHWC, images_NHWC)
    seconds, nats = np.diff(times), -run.log_prob(images_NHWC).sum()
    reported = nats / math.log(256)

    def row(name: str, size: float) -> None:
        print(f"{name:44}{size:>10,.0f} bytes{8 * size / count:>9.1f} bits an image")

    print(f"{count:,} images, compressed in {seconds[0]:.1f} s, restored in {seconds[1]:.1f} s")
    row(f"model, reported: {nats / count:.3f} nats an image", reported)
    row(f"model, compressed: {100 * (len(content) / reported - 1):+.2f} %", len(content))
    each, grid = [picture(x_HWC[None]) for x_HWC in images_NHWC], picture(images_NHWC)
    for name, file_of in FORMATS.items():
        try:
            row(f"{name}, a file for each image", sum(len(file_of(image)) for image in each))
            row(f"{name}, all as an image of {grid.width} x {grid.height}", len(file_of(grid)))
        except (KeyError, FileNotFoundError):
            print(f"{name}: not at hand")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compress", "decompress", "compare"):
        command = commands.add_parser(name)
        command.add_argument("--weights", default="mnist_classes", help="name or directory")
        if name != "compare":
            command.add_argument("source", type=files.expand, help="file to read")
            command.add_argument("target", type=files.expand, help="file to write")
    arguments = parser.parse_args(argv)
    if arguments.command == "compare":
        run = rnnae.load(arguments.weights)
        compare(run, binarise_once(build.load_splits(run.config).test[:1000], seed=0))
        return 0
    source, target = arguments.source, arguments.target
    files.check_output(target)
    run = rnnae.load(arguments.weights)
    if arguments.command == "compress":
        content = compress(run, read_images(source, run.model.image_shape))
    else:
        content = file_of_images(decompress(run, files.read_bytes(source)), target.suffix)
    files.replace_file(target, lambda path: path.write_bytes(content))
    return 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "compress"))
