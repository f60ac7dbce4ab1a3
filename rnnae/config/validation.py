"""`check` refuses values that cannot be run."""

import math

from ml_collections import ConfigDict

from rnnae.config.defaults import MODEL_DEFAULTS
from rnnae.errors import ConfigError, choose

_POSITIVE = (
    "data.batch_size",
    "train.steps_per_call",
    "train.eval_every_epochs",
    "eval.batch_size",
    "eval.mixture_components",
    "latent.size",
    "latent.components",
    "latent.chunk",
    "latent.width",
    "likelihood.sigma",
    "likelihood.components",
    "optim.learning_rate",
)
_NOT_NEGATIVE = (
    "data.train_images",
    "data.in_memory_gib",
    "optim.warmup_steps",
    "optim.final_fraction",
    "optim.weight_decay",
    "optim.clip_norm",
    "train.max_steps",
    "train.checkpoint_every_seconds",
    "eval.importance_samples",
    "eval.information_images",
    "objective.beta",
    "objective.anneal_steps",
    "objective.free_bits",
    "cpu_microbatch",
    "devices",
)
_MAY_BE_INFINITE = ("data.in_memory_gib", "optim.clip_norm", "train.checkpoint_every_seconds")
MAX_SEED = 2**31 - 1  # jax takes 32 bits of a larger one: others would be the same
_DECAYS = ("optim.b1", "optim.b2", "optim.ema")
_CHOICES = {
    "data.binarise": ("none", "dynamic"),
    "eval.checkpoint": ("latest", "best"),
    "optim.name": ("adam", "muon"),
    "optim.precision": ("float32", "bfloat16"),
    "optim.schedule": ("constant", "warmup_cosine"),
}


def check(config: ConfigDict) -> None:
    """Raises ConfigError, one line, for a value that no run could have.

    Choices that are dicts elsewhere (cells, orders, sets) are checked where they are looked up.
    """

    def get(path: str):
        value = config
        for key in path.split("."):
            value = value[key]
        return value

    def require(ok: bool, path: str, words: str) -> None:
        if not ok:
            raise ConfigError(f"config.{path} must be {words}, not {get(path)!r}")

    name = config.model.name
    strange = config.model.keys() - choose(MODEL_DEFAULTS, "config.model.name", name)().keys()
    if strange:
        raise ConfigError(
            f"a {name} model has no {', '.join(sorted(strange))}: config.model.name is not a flag; "
            "take a config file of that model"
        )
    for path in _POSITIVE:
        require(get(path) > 0, path, "positive")
    for path in _NOT_NEGATIVE:
        require(get(path) >= 0, path, "0 or more")
    for path in (*_POSITIVE, *_NOT_NEGATIVE):
        require(path in _MAY_BE_INFINITE or math.isfinite(get(path)), path, "finite")
    for path in _DECAYS:
        require(0 <= get(path) < 1, path, "at least 0 and below 1")
    for path, choices in _CHOICES.items():
        choose(dict.fromkeys(choices), f"config.{path}", get(path))
    for split in config.eval.splits:
        choose(dict.fromkeys(("valid", "test")), "config.eval.splits", split)
    words = f"from 0 to {MAX_SEED:,}"
    require(0 <= config.seed <= MAX_SEED, "seed", words)
    seeds = config.eval.seeds
    ok = bool(seeds) and all(isinstance(s, int) and 0 <= s <= MAX_SEED for s in seeds)
    require(ok, "eval.seeds", f"one or more numbers {words}")
    for key in (
        "width",
        "layers",
        "patch",
        "steps",
        "canvas",
        "blocks",
        "expansion",
        "token_latent_width",
    ):
        if key in config.model:
            require(config.model[key] > 0, f"model.{key}", "positive")
    for key in ("read_size", "write_size", "encoder_blocks", "segment"):
        if key in config.model:
            require(config.model[key] >= 0, f"model.{key}", "0 or more")
    if not config.train.max_steps:
        require(config.train.epochs > 0, "train.epochs", "positive, or config.train.max_steps set")
