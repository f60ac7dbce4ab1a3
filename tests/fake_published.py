"""Tiny stand-ins for the published files, whose sizes and checksums replace the real ones."""

import gzip
import hashlib
import io

import numpy as np
from scipy.io import savemat

from rnnae.data import pipeline, sources


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
    """File name: payload, as published but for a few examples only."""
    rng = np.random.default_rng(0)
    files = {}
    for i, file in enumerate(sources.PUBLISHED[name].files):
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
            # 30 for training beside the 1,345 for validation.
            train, test = (rng.integers(0, 256, (n, 28, 28, 1), np.uint8) for n in (1375, 12))
            files[file] = mat(data=train, testdata=test)
        else:
            files[file] = amat(rng.integers(0, 2, (n, 784)))
    return files


def install(monkeypatch, name: str, folder, compress: bool = False) -> dict[str, bytes]:
    """Writes `make(name)` into `folder` and registers its checksums as the published ones."""
    files = make(name)
    table = {
        file: (len(payload), f"sha256:{hashlib.sha256(payload).hexdigest()}")
        for file, payload in files.items()
    }
    entry = sources.PUBLISHED[name]._replace(files=table)
    monkeypatch.setitem(sources.PUBLISHED, name, entry)
    folder.mkdir(parents=True, exist_ok=True)
    for file, payload in files.items():
        path = folder / (f"{file}.gz" if compress else file)
        path.write_bytes(gzip.compress(payload) if compress else payload)
    return files


def load(tmp_path, **kwargs) -> pipeline.Splits:
    """`data.load` of what was installed in `tmp_path`."""
    defaults = {
        "name": "mnist",
        "data_dir": str(tmp_path / "data"),
        "source_dir": str(tmp_path),
        "shape": (0, 0, 0),
        "train_on_all": False,
        "train_images": 0,
        "in_memory_gib": 1.0,
        "seed": 0,
    }
    return pipeline.load(**defaults | kwargs)
