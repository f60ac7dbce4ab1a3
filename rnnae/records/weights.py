"""Trained weights to publish: a directory with safetensors, the config, a model card, and digests.

    model.safetensors  the averaged parameters, float32; a name is the path of a parameter with "/"
    config.json        the config of the run, without paths and settings of the machine
    README.md          the model card
    mixture.npz, class_mixture.npz  mixtures over the latents, if the model needs them to sample
    SHA256SUMS         digests of the other files, as `sha256sum -c` reads them

Those that the package ships are in `rnnae/weights/NAME/`.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from ml_collections import ConfigDict

from rnnae import build, files, state
from rnnae.config import default, saved_config, shipped
from rnnae.errors import CheckpointError, one_line
from rnnae.models import Autoencoder

CARD, DIGESTS = "README.md", "SHA256SUMS"


class Weights(NamedTuple):
    """A model with trained parameters."""

    model: Autoencoder
    params: Any
    config: ConfigDict
    step: int  # after which the parameters were taken


def save(
    directory: str | Path,
    params: Any,
    config: ConfigDict,
    card: str,
    *,
    step: int = 0,
    more: dict[str, bytes] | None = None,
) -> None:
    """Writes the files. The same arguments give the same bytes.

    `card` is the text of the model card, see `model_card.text`, and `more` the contents of further
    files. Digests are written last, so that a directory that was not finished is refused.
    """
    directory = files.expand(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = config.copy_and_resolve_references()
    usual = default(config.model.name)
    for key in (*saved_config.MACHINE_PATHS, "devices", "keep_memory"):
        config.update_from_flattened_dict({key: _get(usual, key)})
    arrays = {name: np.ascontiguousarray(x, np.float32) for name, x in by_name(params).items()}
    contents = {
        files.WEIGHTS: safetensors.numpy.save(arrays, {"step": str(step)}),
        files.CONFIG: saved_config.to_text(config.to_dict()).encode(),
        CARD: card.encode(),
        **(more or {}),
    }
    lines = [f"{_sha256(content)}  {name}\n" for name, content in sorted(contents.items())]
    for name, content in [*contents.items(), (DIGESTS, "".join(lines).encode())]:
        files.replace_file(
            directory / name, lambda path, content=content: path.write_bytes(content)
        )


def load(name: str | Path) -> Weights:
    """The weights that the package ships as `name`, or those in the directory `name`.

    No optimizer is built and no data are needed. Raises ConfigError if there is no such directory,
    CheckpointError if a file is missing, is damaged, or has other parameters than its model.
    """
    directory = shipped.find_weights(name)
    contents = _verified(directory)
    config = saved_config.get_config(str(directory / files.CONFIG))
    model = build.build_model(config)
    try:
        arrays = safetensors.numpy.load(contents[files.WEIGHTS])
        step = int(_metadata(contents[files.WEIGHTS])["step"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise _damaged(directory / files.WEIGHTS, one_line(error)) from error
    # Tracing a model takes a second. Those of the package were checked by its tests.
    if directory.parent != shipped.WEIGHTS:
        check_fit(directory, model, arrays)
    return Weights(model, traverse_util.unflatten_dict(arrays, sep="/"), config, step)


def check_fit(directory: Path, model: Autoencoder, arrays: dict[str, np.ndarray]) -> None:
    """CheckpointError unless `arrays`, by name, are the parameters of the model."""
    expected = by_name(state.shapes_of_params(model))
    wrong = expected.keys() ^ arrays.keys() or {
        name
        for name, x in expected.items()
        if (x.shape, x.dtype) != (arrays[name].shape, arrays[name].dtype)
    }
    if wrong:
        raise CheckpointError(
            f"{directory / files.WEIGHTS} does not fit its model (for instance {min(wrong)}): use "
            "the version of rnnae that saved it"
        )


def _verified(directory: Path) -> dict[str, bytes]:
    """The contents of the files, which agree with their digests."""
    contents = {}
    try:
        digests = (directory / DIGESTS).read_text(encoding="utf-8")
        listed = re.findall(r"^([0-9a-f]{64})  ([\w.-]+)$", digests, re.MULTILINE)
        for digest, name in listed:
            contents[name] = (directory / name).read_bytes()
            if _sha256(contents[name]) != digest:
                raise _damaged(directory / name, "its digest is another")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(directory, one_line(error)) from error
    if missing := {files.WEIGHTS, files.CONFIG, CARD} - contents.keys():
        raise _damaged(directory / DIGESTS, f"it has no digest of {', '.join(sorted(missing))}")
    return contents


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: a header of JSON after its length (8 bytes)."""
    size = int.from_bytes(content[:8], "little")
    return files.parse_json(content[8 : 8 + size])["__metadata__"]


def by_name(params: Any) -> dict[str, Any]:
    """Parameters by their paths, such as `decoder/output/kernel`."""
    return traverse_util.flatten_dict(params, sep="/")


def _get(config: ConfigDict, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({reason}): install rnnae again, or take a copy")
