"""`check` refuses values that no run could have."""

import math

from ml_collections import ConfigDict

from rnnae.config.choices import CHOICES
from rnnae.config.defaults import MODEL_DEFAULTS
from rnnae.errors import ConfigError, check_choice, choose

_POSITIVE = (
    "data.batch_size",
    "data.max_megapixels",
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
    "eval.mutual_information_images",
    "objective.beta",
    "objective.anneal_steps",
    "objective.free_bits",
    "cpu_microbatch",
    "devices",
)
_MAY_BE_INFINITE = (
    "data.in_memory_gib",
    "data.max_megapixels",
    "optim.clip_norm",
    "train.checkpoint_every_seconds",
)
_DECAYS = ("optim.b1", "optim.b2", "optim.ema")
# Keys of config.model, of whichever model has them.
_MODEL_POSITIVE = (
    "width",
    "layers",
    "patch",
    "steps",
    "canvas",
    "blocks",
    "expansion",
    "token_latent_width",
)
_MODEL_NOT_NEGATIVE = ("read_size", "write_size", "encoder_blocks", "segment")
MAX_SEED = 2**31 - 1  # jax.random.key uses 32 bits of a larger seed, so two seeds could be equal


def check(config: ConfigDict) -> None:
    """Raises ConfigError, one line, for a value that no run could have.

    Names of cells, scan orders, data sets and the like are checked where they are looked up.
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
    unknown = config.model.keys() - choose(MODEL_DEFAULTS, "config.model.name", name)().keys()
    if unknown:
        raise ConfigError(
            f"model {name} has no {', '.join(sorted(unknown))}: config.model.name cannot be set "
            "by a flag; use a config file for that model"
        )
    model = {f"model.{key}" for key in config.model}
    positive = (*_POSITIVE, *sorted(model & {f"model.{key}" for key in _MODEL_POSITIVE}))
    not_negative = (*_NOT_NEGATIVE, *sorted(model & {f"model.{k}" for k in _MODEL_NOT_NEGATIVE}))
    for path in positive:
        require(get(path) > 0, path, "positive")
    for path in not_negative:
        require(get(path) >= 0, path, "0 or more")
    for path in (*positive, *not_negative):
        require(path in _MAY_BE_INFINITE or math.isfinite(get(path)), path, "finite")
    for path in _DECAYS:
        require(0 <= get(path) < 1, path, "at least 0 and below 1")
    for path, choices in CHOICES.items():
        if not path.startswith("model.") or path in model:
            values = get(path)
            for value in (values,) if isinstance(values, str) else values:
                check_choice(choices, f"config.{path}", value)
    words = f"from 0 to {MAX_SEED:,}"
    for path in ("seed", "data.split_seed"):
        require(0 <= get(path) <= MAX_SEED, path, words)
    seeds = config.eval.seeds
    ok = bool(seeds) and all(isinstance(s, int) and 0 <= s <= MAX_SEED for s in seeds)
    require(ok, "eval.seeds", f"one or more integers {words}")
    if not config.train.max_steps:
        require(config.train.epochs > 0, "train.epochs", "positive, unless train.max_steps is set")
