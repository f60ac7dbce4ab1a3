"""`check` refuses values that no run could have."""

import math
import operator
import re

from ml_collections import ConfigDict

from rnnae.config.choices import CHOICES
from rnnae.config.defaults import MODEL_DEFAULTS, default
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
    "likelihood.frequencies",
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
    "features",
)
_MODEL_LAYERS = ("layers", "blocks", "encoder_blocks")
_MOST_LAYERS = 1000  # each is compiled for itself, which takes about a second
_MODEL_NOT_NEGATIVE = (
    "classes",
    "read_size",
    "write_size",
    "encoder_blocks",
    "segment",
    "shift",
    "chain",
)
MAX_SEED = 2**31 - 1  # jax.random.key uses 32 bits of a larger seed, so two seeds could be equal
# A name of TFDS, such as imagenet_resized/32x32. It is a path below data_dir.
_DATA_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


def is_seed(value: object) -> bool:
    """Whether the value is an integer from 0 to MAX_SEED."""
    try:
        return 0 <= operator.index(value) <= MAX_SEED
    except TypeError:
        return False


def check_seed(seed: int) -> int:
    """The seed as an int; ConfigError unless it is an integer from 0 to MAX_SEED.

    Every function that takes a seed from a user calls this.
    """
    if not is_seed(seed):
        raise ConfigError(f"seed must be an integer from 0 to {MAX_SEED:,}, not {seed!r}")
    return operator.index(seed)


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
    choose(MODEL_DEFAULTS, "config.model.name", name)
    unknown = set(config.model) - set(default(name).model)
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
    if "widths" in config.model:
        widths = config.model.widths
        require(all(width > 0 for width in widths), "model.widths", "one or more positive integers")
    require(config.model.classes != 1, "model.classes", "0, or 2 or more")
    for key in set(_MODEL_LAYERS) & set(config.model):
        require(config.model[key] <= _MOST_LAYERS, f"model.{key}", f"at most {_MOST_LAYERS:,}")
    for path in _DECAYS:
        require(0 <= get(path) < 1, path, "at least 0 and below 1")
    for path, choices in CHOICES.items():
        if not path.startswith("model.") or path in model:
            values = get(path)
            for value in (values,) if isinstance(values, str) else values:
                check_choice(choices, f"config.{path}", value)
    if "orders" in config.model:
        orders = config.model.orders
        require(orders in (1, 2, 4, 8), "model.orders", "1, 2, 4 or 8")
        words = f"a multiple of config.model.orders={orders}"
        divides = config.eval.importance_samples % orders == 0 or config.latent.name == "none"
        require(divides, "eval.importance_samples", words)
    words = "0, or 10 or more"  # fewer say nothing, and some metrics need several
    require(config.eval.samples == 0 or config.eval.samples >= 10, "eval.samples", words)
    for path in ("data.label_dropout", "data.augment_fraction", "optim.decay_fraction"):
        require(0 <= get(path) <= 1, path, "from 0 to 1")
    words = f"from 0 to {MAX_SEED:,}"
    for path in ("seed", "data.split_seed"):
        require(is_seed(get(path)), path, words)
    seeds = config.eval.seeds
    require(bool(seeds) and all(map(is_seed, seeds)), "eval.seeds", f"one or more integers {words}")
    words = "the name of a data set"
    require(bool(_DATA_NAME.fullmatch(config.data.name)), "data.name", words)
    if not config.train.max_steps:
        require(config.train.epochs > 0, "train.epochs", "positive, unless train.max_steps is set")
