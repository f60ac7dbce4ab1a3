"""Published files: their names, addresses and checksums, and where they are found.

A file is looked for in `source_dir`, then beside this module, then downloaded; whichever it is, the
bytes inside it (not their compression) must have the published checksum. To add a data set, add its
entry to `PUBLISHED` and, for a new format, a parser to `formats`.
"""

import gzip
import hashlib
import http.client
import io
import sys
import tarfile
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnae.errors import DataError

CONNECT_SECONDS = 3.0  # to the first answer of a server, name look-up included
STALL_SECONDS = 30.0  # without a byte
UNSIZED_BYTES = 300_000_000  # at most, of a file whose size nobody published
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class Published(NamedTuple):
    """Files of one data set."""

    address: str  # of the only one or an archive of all, or, ending in a slash, of their folder
    subfolders: tuple[str, ...]  # where an unpacked copy usually lies below source_dir
    files: dict[str, tuple[int, str]]  # name: (bytes or 0, algorithm:digest), both uncompressed
    suffix: str = ""  # of each file at the address
    bundles: tuple[str, ...] = ()  # single files that hold them all
    lenient: frozenset[str] = frozenset()  # may differ in source_dir: warned about, form checked


_MNIST_FILES = (
    ("train-images-idx3-ubyte", 47_040_016),
    ("train-labels-idx1-ubyte", 60_008),
    ("t10k-images-idx3-ubyte", 7_840_016),
    ("t10k-labels-idx1-ubyte", 10_008),
)


def _idx_files(*digests: str) -> dict[str, tuple[int, str]]:
    return {
        name: (size, f"sha256:{digest}")
        for (name, size), digest in zip(_MNIST_FILES, digests, strict=True)
    }


_AMAT_SHA256 = (
    "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
)

PUBLISHED = {
    "mnist": Published(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ("mnist", "MNIST/raw", "raw"),
        _idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        suffix=".gz",
    ),
    "fashion_mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),
        _idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        suffix=".gz",
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        ("cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"),
        {
            "data_batch_1.bin": (30_730_000, "md5:5dd7e06a14cb22eb9f671a540d1b7c25"),
            "data_batch_2.bin": (30_730_000, "md5:5ea93a67294ea407fff1d09f752e9692"),
            "data_batch_3.bin": (30_730_000, "md5:942cd6a4bcdd0dd3c604fbe906cb4421"),
            "data_batch_4.bin": (30_730_000, "md5:ae636b3ba5c66a11e91e8cb52e771fcb"),
            "data_batch_5.bin": (30_730_000, "md5:53f37980c15c3d472c316c40844f3f0d"),
            "test_batch.bin": (30_730_000, "md5:803d5f7f4d78ea53de84dbe85f74fb6d"),
        },
        bundles=("cifar-10-binary.tar.gz",),
        # Copies rebuilt from images and labels have the right test set in another order.
        lenient=frozenset({"test_batch.bin"}),
    ),
    "binarized_mnist": Published(
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        ("binarized_mnist", "BinarizedMNIST"),
        {
            "binarized_mnist_train.amat": (78_400_000, f"sha256:{_AMAT_SHA256[0]}"),
            "binarized_mnist_valid.amat": (15_680_000, f"sha256:{_AMAT_SHA256[1]}"),
            "binarized_mnist_test.amat": (15_680_000, f"sha256:{_AMAT_SHA256[2]}"),
        },
        bundles=("binarized_mnist.npz",),
    ),
    "omniglot_28": Published(
        "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat",
        ("omniglot_28", "OMNIGLOT", "omniglot"),
        # Its authors give no size and no checksum. The MD5 is what github.com/chenwenxiao/DOI
        # demands of its download; its MD5s of binarized_mnist are those of the files above.
        {"chardata.mat": (0, "md5:21ecaf34373511aa7691cf2e0802aa3d")},
    ),
}


def payloads(name: str, *, source_dir: str = "", work_dir: str | Path = ".") -> dict[str, bytes]:
    """The verified, uncompressed bytes of every file of `name`; `work_dir` holds a download."""
    published = PUBLISHED[name]
    folders = _folders(name, source_dir)
    found = {file: _find(name, file, folders) for file in published.files}
    missing = [file for file, path in found.items() if path is None]
    if not missing:
        return {file: _read(name, file, path) for file, path in found.items()}
    if published.address.endswith("/"):
        addresses = [f"{published.address}{file}{published.suffix}" for file in missing]
    else:
        addresses = [published.address]
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=work_dir) as temporary:
        for address in addresses:
            try:
                _download(address, Path(temporary, address.rpartition("/")[2]))
            except (OSError, http.client.HTTPException) as error:
                where = (
                    f"not in {source_dir}" if source_dir else "no --config.data.source_dir given"
                )
                raise DataError(
                    f"{name} needs {', '.join(missing)} ({where}), and {address} could not be "
                    f"downloaded ({_reason(error)}): fetch what is missing where there is a "
                    f"network and name its folder with --config.data.source_dir"
                ) from error
        found |= {file: _find(name, file, [Path(temporary)]) for file in missing}
        return {
            file: _read(name, file, path, strict=file in missing) for file, path in found.items()
        }


def _folders(name: str, source_dir: str) -> list[Path]:
    """Where files may lie, best first: a folder of the set's own name before a mixed one."""
    packaged = Path(__file__).parent / "published_files" / name
    if not source_dir:
        return [packaged]
    root = Path(source_dir).expanduser()
    if not root.is_dir():
        raise DataError(f"--config.data.source_dir={source_dir} is not a folder")
    return [*(root / folder for folder in PUBLISHED[name].subfolders), root, packaged]


def _find(name: str, file: str, folders: list[Path]) -> Path | None:
    names = (file, f"{file}.gz", *PUBLISHED[name].bundles)
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def _read(name: str, file: str, path: Path, strict: bool = False) -> bytes:
    """The bytes of published `file` inside `path`, which may be it, its gzip or an archive."""
    size, checksum = PUBLISHED[name].files[file]
    try:
        with path.open("rb") as stream:
            start = stream.read(512).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise DataError(f"{path} is a web page, not {file}: {_again(name)}")
        # One byte more shows a file that is too long.
        payload = _unpack(path, file, (size or UNSIZED_BYTES) + 1)
    except _DAMAGED as error:
        raise DataError(
            f"{path} is damaged or cut short ({_reason(error)}): {_again(name)}"
        ) from error
    if size and len(payload) != size:
        amount = f"{len(payload):,}" if len(payload) < size else f"more than {size:,}"
        raise DataError(f"{file} in {path} has {amount} bytes, not {size:,}: {_again(name)}")
    algorithm, _, digest = checksum.partition(":")
    if hashlib.new(algorithm, payload, usedforsecurity=False).hexdigest() != digest:
        if file not in PUBLISHED[name].lenient or strict:
            raise DataError(f"{file} in {path} has not the published {algorithm}: {_again(name)}")
        # Right in size here; its parser checks the rest of its form.
        print(f"warning: {path} has not the published {algorithm}; using it", file=sys.stderr)
    return payload


def _unpack(path: Path, file: str, limit: int) -> bytes:
    """At most `limit` bytes, so that a small file cannot unfold into a huge one."""
    if path.suffix == ".npz":
        return _amat_text(path, file)
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).name == file:
                    return archive.extractfile(member).read(limit)
        raise KeyError(f"no {file} in it")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        return stream.read(limit)


def _amat_text(path: Path, file: str) -> bytes:
    """The published text from bits packed 8 to a byte, so that its checksum can be checked."""
    split = file.removeprefix("binarized_mnist_").removesuffix(".amat")
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as packed:
        bits = np.unpackbits(packed[split], axis=1, count=784)
    text = np.full((*bits.shape, 2), ord(" "), np.uint8)
    text[..., 0] = bits + ord("0")
    text[:, -1, 1] = ord("\n")
    return text.tobytes()


def _download(address: str, path: Path) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with _connect(address) as answer, path.open("wb") as out, Progress(*columns) as progress:
        total = int(answer.headers.get("Content-Length") or 0) or None
        task = progress.add_task(path.name, total=total)
        while block := answer.read(1 << 16):
            out.write(block)
            progress.update(task, advance=len(block))
    if total and path.stat().st_size != total:
        raise OSError(f"the connection closed after {path.stat().st_size:,} of {total:,} bytes")


def _connect(address: str):
    """urlopen with a limit that holds for the name look-up too, which has no timeout of its own."""
    result = []

    def connect():
        try:
            result.append(urllib.request.urlopen(address, timeout=STALL_SECONDS))
        except (OSError, http.client.HTTPException) as error:
            result.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not result:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _again(name: str) -> str:
    return f"fetch it again from {PUBLISHED[name].address}"


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error or type(error).__name__).split())
