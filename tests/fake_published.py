"""Tiny files in the formats of the published ones, with sizes and checksums to match.

A data set in a new format needs a branch in `make`.
"""

import dataclasses
import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from rnnae.data import datasets, pipeline
from rnnae.data.sources import Source
from rnnae.data.splits import Splits


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def amat(bits: np.ndarray) -> bytes:
    return "".join(" ".join(map(str, row)) + "\n" for row in bits.tolist()).encode()


def mat(**images: np.ndarray) -> bytes:
    """A MATLAB file of doubles (784, n), column after column, from uint8 (n, 28, 28, 1)."""
    stream = io.BytesIO()
    savemat(stream, {k: v.transpose(3, 2, 1, 0).reshape(784, -1) / 255 for k, v in images.items()})
    return stream.getvalue()


def make(name: str) -> dict[str, bytes]:
    """File name: content, in the published format but with only a few examples."""
    rng = np.random.default_rng(0)
    files = {}
    for i, file in enumerate(datasets.DATASETS[name].source.files):
        n = 30 if "train" in file or "batch_" in file else 12
        if file.endswith("idx3-ubyte"):
            files[file] = idx(rng.integers(0, 256, (n, 28, 28), np.uint8))
        elif file.endswith("idx1-ubyte"):
            files[file] = idx(rng.integers(0, 10, n, np.uint8))
        elif file.endswith(".bin"):
            records = rng.integers(0, 256, (n, 3073), np.uint8)
            records[:, 0] = i
            files[file] = records.tobytes()
        elif file.endswith(".mat"):
            # 30 for train and 1,345 for validation.
            train, test = (rng.integers(0, 256, (n, 28, 28, 1), np.uint8) for n in (1375, 12))
            files[file] = mat(data=train, testdata=test)
        elif file.endswith(".amat"):
            files[file] = amat(rng.integers(0, 2, (n, 784)))
        else:
            raise NotImplementedError(f"no fake file in the format of {file}")
    return files


def change_source(monkeypatch, name: str, **changes) -> Source:
    """Replaces fields of a data set's source for the time of a test."""
    dataset = datasets.DATASETS[name]
    source = dataclasses.replace(dataset.source, **changes)
    monkeypatch.setitem(datasets.DATASETS, name, dataclasses.replace(dataset, source=source))
    return source


def install(
    monkeypatch, name: str, folder: Path, compress: bool = False
) -> tuple[Source, dict[str, bytes]]:
    """Writes `make(name)` into `folder`, and makes its sizes and checksums the published ones."""
    files = make(name)
    table = {
        file: (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
        for file, content in files.items()
    }
    source = change_source(monkeypatch, name, files=table)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        path = folder / (f"{file}.gz" if compress else file)
        path.write_bytes(gzip.compress(content) if compress else content)
    return source, files


def make_images(root, n=20, size=(24, 20), mode="RGB"):
    root.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new(mode, size, color=(10 * i) if mode == "L" else (10 * i, 0, i)).save(
            root / f"{i:02d}.png"
        )
    return str(root)


def load(tmp_path: Path, **kwargs) -> Splits:
    """`pipeline.load` of the data set that was installed in `tmp_path`."""
    defaults = {
        "name": "mnist",
        "data_dir": str(tmp_path / "data"),
        "source_dir": str(tmp_path),
        "shape": (0, 0, 0),
        "train_on_all": False,
        "train_images": 0,
        "in_memory_gib": 1.0,
    }
    return pipeline.load(**defaults | kwargs)
