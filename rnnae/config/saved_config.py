"""The config that a run saves in its directory (config.json): read it, and compare with it."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import digests, files
from rnnae.config.defaults import MODEL_DEFAULTS, default
from rnnae.config.resume import changes
from rnnae.errors import CheckpointError, ConfigError

# (model or "", old key) -> new key. Runs that were saved with the old key still load.
RENAMED = {
    ("sweep", "model.view"): "model.token_latent_width",
    ("sweep", "model.above"): "model.sweeps_above",
    ("sweep", "model.sees_down"): "model.sweep_down",
    ("sweep", "model.sees_left"): "model.sweep_row",
    ("sweep", "model.window"): "model.segment",
    ("sequence", "model.feed"): "model.latent_input",
    ("sequence", "model.own_output"): "model.autoregressive",
    ("", "latent.inference"): "latent.posterior",
    ("", "optim.precision"): "optim.matmul_precision",
    ("", "eval.information_images"): "eval.mutual_information_images",
}


# Where data, compiled programs and other weights are on a machine. They are never read from a saved
# config, but come from the defaults or from flags: these files can hold somebody's program.
MACHINE_PATHS = (
    "data.data_dir",
    "data.source_dir",
    "eval.features",
    "eval.inception_weights",
    "train.init_from",
    "compilation_cache",
)


def new_name(key: str) -> str | None:
    """The present name of a dotted key that was renamed; None if it was not."""
    return next((new for (_, old), new in RENAMED.items() if old == key), None)


def rename_old_keys(saved: dict) -> dict:
    """A saved config, or the part of one, under the present names of its keys."""
    saved = {k: dict(v) if isinstance(v, dict) else v for k, v in saved.items()}
    model = saved.get("model", {}).get("name")
    for (of_model, old), new in RENAMED.items():
        section, _, key = old.partition(".")
        if section in saved and key in saved[section] and of_model in ("", model):
            saved[section][new.partition(".")[2]] = saved[section].pop(key)
    return saved


_DIGEST = "sha256"  # of the other keys of the file


def to_text(config: dict) -> str:
    """The text of config.json: the resolved config, and a digest of it."""
    return json.dumps(config | {_DIGEST: digests.of_json(config)}, indent=2) + "\n"


def find(workdir: str | Path) -> Path:
    """The saved config of the run in `workdir`; CheckpointError if there is no run."""
    path = Path(workdir) / files.CONFIG
    if path.exists() or path.is_symlink():
        return path
    seeds = sorted(str(p.parent) for p in Path(workdir).glob(f"seed*/{files.CONFIG}"))
    hint = f"; there are runs in {', '.join(seeds)}" if seeds else ": train one there first"
    raise CheckpointError(f"{workdir} has no run (no {files.CONFIG}){hint}")


def read(path: Path) -> dict:
    """The saved config at `path` under the present names of its keys.

    Raises ConfigError if the file cannot be read, or if it does not agree with its digest. Files of
    older versions have no digest.
    """
    try:
        saved = files.read_json(path)
        digest = saved.pop(_DIGEST, None)
        if digest in (None, digests.of_json(saved)):
            _check_sections(saved)
            data = saved.get("data", {})
            if data.get("name") == "folder":  # old runs split a folder by the seed of the run
                data.setdefault("split_seed", saved["seed"])
            return rename_old_keys(saved)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path) from error
    raise damaged(path)


def _check_sections(saved: dict) -> None:
    """ValueError unless `saved` has the sections of a config, and values where they belong."""
    if saved["model"]["name"] not in MODEL_DEFAULTS:
        raise ValueError("unknown model")
    for key, value in default(saved["model"]["name"]).to_dict().items():
        if isinstance(value, dict) != isinstance(saved.get(key, value), dict):
            raise ValueError(f"{key} must be a section")


def damaged(path: Path) -> ConfigError:
    """The error of a config.json that no run saved so."""
    copies = path.parent / files.CHECKPOINTS
    copies = sorted(copies.glob(f"latest/*/{files.CONFIG}"), key=lambda p: p.stat().st_mtime)
    copy = f" by the copy in {copies[-1]}" if copies else " from a copy"
    return ConfigError(
        f"{path} is damaged, or was changed by hand: replace it{copy}, or use another workdir"
    )


def get_config(path: str) -> ConfigDict:
    """The saved values over the defaults, locked: this module is the config file of a saved run.
    The MACHINE_PATHS are at their defaults.

    Raises ConfigError for a damaged file, and for a key that this version does not have.
    """
    saved = read(Path(path))
    config = default(saved["model"]["name"])
    with config.unlocked():
        for section, values in saved.items():
            if isinstance(values, dict):
                for key, value in values.items():
                    if section not in config or key not in config[section]:
                        raise _other_version(path, f"{section}.{key}")
                    if f"{section}.{key}" in MACHINE_PATHS:
                        continue
                    value = tuple(value) if isinstance(value, list) else value
                    try:
                        config[section][key] = value
                    except TypeError as error:  # a value of another type than the default
                        raise damaged(Path(path)) from error
            elif section not in config:
                raise _other_version(path, section)
            elif section not in MACHINE_PATHS:
                config[section] = values
    return config


def other_data(config: ConfigDict, workdir: str | Path) -> str:
    """A line that says where the run in `workdir` had its data, if that is another place than the
    default in `config`; else ""."""
    saved, usual = read(Path(workdir) / files.CONFIG)["data"], default(config.model.name).data
    there = " ".join(
        f"--config.data.{key}={saved[key]!r}"
        for key in ("data_dir", "source_dir")
        if saved.get(key, usual[key]) != config.data[key] == usual[key]
    )
    return f"paths of a saved run are not used; it had its data at {there}" if there else ""


def _other_version(path: str, key: str) -> ConfigError:
    return ConfigError(
        f"{path} was saved by another version of rnnae: config.{key} is unknown; use the commit "
        f"that its {files.STARTS} names"
    )


def refuse_another_run(config: ConfigDict, workdir: str | Path) -> None:
    """ConfigError if `workdir` holds a run whose config differs from this resolved one in a key
    that may not change."""
    path = Path(workdir) / files.CONFIG
    changed = changes(read(path), config.to_dict()) if path.exists() else []
    if not changed:
        return
    if [key for key, _, _ in changed] == ["data.fingerprint"]:
        raise ConfigError(
            f"the run in {workdir} was trained on other images than config.data names now: restore "
            "those images, or use another --workdir"
        )
    detail = ", ".join(f"config.{key}: {old} there, {new} here" for key, old, new in changed)
    raise ConfigError(
        f"{workdir} holds another run ({detail}); use the same values, or another --workdir"
    )
