"""default(): every hyperparameter with its meaning; `check` refuses what cannot be run.

A config file in `configs/` is `default()` plus its differences. The config is locked: a key that is
not here does not exist. `config.model` holds the hyperparameters of one model only.
"""

import math

from ml_collections import ConfigDict

from rnnae.errors import ConfigError, choose


def _sequence() -> dict:
    return {
        "name": "sequence",
        "order": "rows",  # tokens: rows, columns, patches, pixels
        "patch": 4,  # side of a token in pixels, for order=patches
        "cell": "lstm",  # any of cells.CELLS
        "width": 96,  # D, units of each cell (each direction has its own)
        "layers": 1,  # recurrent layers in the encoder, and in the decoder
        "connections": "residual",  # of layers: none; residual: each adds to its input; skip: to
        # what is read of the stack
        "encoder_direction": "both",  # forward, backward, both
        "decoder_direction": "both",  # forward, backward, both; own_output needs forward
        "readout": "all",  # what of the encoder the code reads: last state, all steps
        "feed": "both",  # how the code reaches the decoder: initial_state, every_step, both
        "own_output": False,  # decoder reads its previous token (true in training, own in decode)
    }


def _mlp() -> dict:
    return {
        "name": "mlp",
        "widths": (512, 256),  # hidden units from the image inwards; the decoder mirrors them
    }


def _draw() -> dict:
    return {
        "name": "draw",
        "cell": "lstm",  # any of cells.CELLS
        "width": 256,  # D, units of the encoder, and of the decoder
        "steps": 64,  # T, glimpses; latent.size is the part of the code drawn in each
        "read_size": 2,  # side of the reading window's grid; 0 = reads the whole image
        "write_size": 5,  # side of the writing window's grid; 0 = writes the whole canvas
        "learned_prior": False,  # p(z_t) depends on what was painted before; else standard normal
        "canvas": 8,  # channels of a canvas that is not itself the likelihood's parameters
    }


def _sweep() -> dict:
    return {
        "name": "sweep",
        "patch": 2,  # side of a token
        "cell": "min_gru",  # any of cells.CELLS
        "width": 64,  # D, of both streams and of every sweep's state
        "blocks": 3,  # of the decoder, each a vertical and a horizontal one
        "encoder_blocks": 2,
        "expansion": 2,  # hidden units of a block's MLP, in widths
        "condition": "film",  # how the code enters every block: film, add
        "window": 0,  # tokens of a segment, of the decoder's sweeps down and left; 0 = whole lines
        "above": "both",  # sweeps across the rows above: both, forward, backward, none
        "sees_down": True,  # a sweep down the rows above; else one of them is seen
        "sees_left": True,  # a sweep across the tokens to the left; else one of them is seen
        "view": 8,  # numbers of the code's own view of each token, and of the encoder's of it
    }


_MODELS = {"sequence": _sequence, "mlp": _mlp, "draw": _draw, "sweep": _sweep}


def default(model: str = "sequence") -> ConfigDict:
    """The default config with the hyperparameters of `model`, locked.

    Raises ConfigError for an unknown model.
    """
    hyperparameters = choose(_MODELS, "the model of default()", model)
    config = ConfigDict()
    config.seed = 0  # of parameters, data order and everything random

    config.data = ConfigDict()
    config.data.name = "mnist"  # a key of datasets.DATASETS, or a TFDS set prepared in data_dir
    config.data.data_dir = "data"  # where prepared TFDS directories live
    config.data.source_dir = ""  # published files, or your own images for name=folder
    config.data.shape = (0, 0, 0)  # H, W, C of images that have no fixed shape; else left alone
    config.data.fingerprint = ""  # left alone: a run says here what its images are
    config.data.batch_size = 256  # images, over all devices
    config.data.train_on_all = False  # train on the validation images too: final runs
    config.data.train_images = 0  # use the first n training images; 0 = all
    config.data.in_memory_gib = 4.0  # larger splits are read from disk batch by batch
    config.data.binarise = "none"  # none; dynamic: pixels ~ Bernoulli(intensity) at every visit

    config.model = ConfigDict(hyperparameters())

    config.latent = ConfigDict()
    config.latent.name = "deterministic"  # any of latents.LATENTS
    config.latent.size = 64  # Z
    config.latent.components = 100  # of the prior of mixture and vamp
    config.latent.inference = "diagonal"  # the posterior: diagonal, autoregressive
    config.latent.chunk = 8  # dimensions that the autoregressive ones write at a time
    config.latent.width = 128  # units of the autoregressive ones' LSTM

    config.likelihood = ConfigDict()
    config.likelihood.name = "gaussian"  # gaussian, bernoulli, categorical, logistic_mixture
    config.likelihood.sigma = 0.5**0.5  # of the gaussian; at this one it is the squared error
    config.likelihood.block = 2  # k, for categorical: side of a patch whose pixels are one symbol
    config.likelihood.components = 10  # of the logistic_mixture

    config.objective = ConfigDict()
    config.objective.beta = 1.0  # weight of the KL
    config.objective.anneal_steps = 0  # steps over which the KL's weight rises from 0 to beta
    config.objective.free_bits = 0.0  # nats of each code dimension that cost as if they were used

    config.optim = ConfigDict()
    config.optim.name = "adam"  # adam; muon: orthogonal updates of matrices, Adam for the rest
    config.optim.learning_rate = 1e-3  # at its peak
    config.optim.schedule = "warmup_cosine"  # constant, warmup_cosine
    config.optim.warmup_steps = 500  # steps of linear rise, at most half of the run
    config.optim.final_fraction = 0.01  # of learning_rate, where the cosine ends
    config.optim.b1 = 0.9
    config.optim.b2 = 0.999
    config.optim.weight_decay = 0.0  # decoupled, as in AdamW
    config.optim.clip_norm = 1.0  # of the global gradient; 0 = off
    config.optim.precision = "float32"  # of products' operands in training: float32, bfloat16
    config.optim.ema = 0.999  # decay of the averaged weights that are evaluated; 0 = off

    config.train = ConfigDict()
    config.train.epochs = 50
    config.train.max_steps = 0  # train this many steps instead of epochs; 0 = by epochs
    config.train.steps_per_call = 13  # at most so many steps in one program on the device
    config.train.eval_every_epochs = 2  # and after the first: validation, pictures, best
    config.train.checkpoint_every_seconds = 300  # besides one at each evaluation
    config.train.tensorboard = True  # event files beside metrics.jsonl

    config.eval = ConfigDict()
    config.eval.batch_size = 500  # images at a time; does not change any number
    config.eval.splits = ("valid", "test")  # that --mode evaluate measures
    config.eval.seeds = (0,)  # each a binarisation of the held-out images, and draws of codes
    config.eval.importance_samples = 128  # K of the test images' log-likelihood; 0 = bound only
    config.eval.information_images = 1000  # among which mutual information is estimated; 0 = off
    config.eval.checkpoint = "latest"  # latest, best (lowest validation loss)
    config.eval.mixture_components = 100  # Gaussians of the ex-post density over codes

    config.compilation_cache = "~/.cache/rnnae/jax"  # directory of compiled programs; "" = off
    config.keep_memory = True  # freed memory stays with the process: faster on CPUs with glibc
    config.cpu_microbatch = 0  # images that go through the model at a time on CPUs; 0 = the batch
    config.devices = 0  # accelerators, or virtual CPU devices, to use; 0 = choose
    return config.lock()


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
    strange = config.model.keys() - choose(_MODELS, "config.model.name", name)().keys()
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
    for key in ("width", "layers", "patch", "steps", "canvas", "blocks", "expansion", "view"):
        if key in config.model:
            require(config.model[key] > 0, f"model.{key}", "positive")
    for key in ("read_size", "write_size", "encoder_blocks", "window"):
        if key in config.model:
            require(config.model[key] >= 0, f"model.{key}", "0 or more")
    if not config.train.max_steps:
        require(config.train.epochs > 0, "train.epochs", "positive, or config.train.max_steps set")


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
