"""What may change when a run continues."""

from ml_collections import ConfigDict

from rnnae.config.defaults import default

# What may differ when a run is continued: where things are, how often and how long; nothing that
# would make the run another one.
_MAY_CHANGE = (
    "data.data_dir",
    "data.source_dir",
    "data.in_memory_gib",
    "train.",
    "eval.",
    "compilation_cache",
    "keep_memory",
    "cpu_microbatch",
    "devices",
)


def resolved(config: ConfigDict, image_shape: tuple[int, ...], fingerprint: str = "") -> ConfigDict:
    """A copy that says what the data turned out to be: `data.shape`, `data.fingerprint`."""
    config = config.copy_and_resolve_references()
    config.data.shape, config.data.fingerprint = tuple(image_shape), fingerprint
    return config


def changes(old: dict, new: dict) -> list[tuple[str, object, object]]:
    """(key, old value, new value) of what differs between two configs and may not."""
    old, new = flat(old), flat(new)
    # What is newer than the old run was at its default then; its images had no fingerprint.
    was = flat(default(old["model.name"]).to_dict())
    was |= {"data.fingerprint": new["data.fingerprint"]} | old
    return [
        (key, was.get(key), new.get(key))
        for key in sorted(was.keys() | new.keys())
        if not key.startswith(_MAY_CHANGE) and was.get(key) != new.get(key)
    ]


def flat(tree: dict, prefix: str = "") -> dict:
    """Dotted keys; tuples as lists, as JSON has them."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found
