"""What may change when a run continues, and what makes it another run."""

from ml_collections import ConfigDict

from rnnae.config.defaults import default

# Where files are, and how often and how long something is done. A key that ends in a dot stands
# for its whole section.
_MAY_CHANGE = (
    "data.data_dir",
    "data.source_dir",
    "data.in_memory_gib",
    "data.skip_bad_images",  # which images are used is a part of the fingerprint
    "data.max_megapixels",
    "train.",
    "eval.",
    "compilation_cache",
    "keep_memory",
    "cpu_microbatch",
    "devices",
)


def resolved(
    config: ConfigDict,
    image_shape: tuple[int, ...],
    fingerprint: str = "",
    class_names: tuple[str, ...] = (),
) -> ConfigDict:
    """A copy of the config with the shape, the fingerprint and the classes of the images that were
    loaded."""
    config = config.copy_and_resolve_references()
    config.data.shape, config.data.fingerprint = tuple(image_shape), fingerprint
    config.data.class_names = tuple(class_names)
    return config


def changes(old: dict, new: dict) -> list[tuple[str, object, object]]:
    """(key, old value, new value) of every difference that makes `new` another run than `old`."""
    old, new = flat(old), flat(new)
    # A key that the old version did not have was at its default; the run itself fills in these two.
    before = flat(default(old["model.name"]).to_dict())
    before |= {key: new[key] for key in ("data.fingerprint", "data.class_names")} | old
    return [
        (key, before.get(key), new.get(key))
        for key in sorted(before.keys() | new.keys())
        if not key.startswith(_MAY_CHANGE) and before.get(key) != new.get(key)
    ]


def flat(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": (1,)}} -> {"a.b": [1]}: dotted keys, and tuples as lists, as in JSON."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found
