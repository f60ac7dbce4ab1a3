"""default(): every hyperparameter with its meaning.

A config file in `configs/` is `default()` plus its differences. The config is locked: a key that is
not here does not exist. `config.model` holds the hyperparameters of one model only.
"""

from ml_collections import ConfigDict

from rnnae.errors import choose


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
        "decoder_direction": "both",  # forward, backward, both; autoregressive needs forward
        "readout": "all",  # what of the encoder the code reads: last state, all steps
        "latent_input": "both",  # how the decoder gets the latent: initial_state, every_step, both
        "autoregressive": False,  # the decoder reads its previous token: the true one in training
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
        "segment": 0,  # tokens after which a decoder's sweep down or left starts anew; 0 = never
        "sweeps_above": "both",  # sweeps across the rows above: both, forward, backward, none
        "sweep_down": True,  # a sweep down over all rows above; without it only one row is seen
        "sweep_left": True,  # a sweep over all tokens to the left; without it only one is seen
        "token_latent_width": 8,  # width of the per-token latent projection and encoder readout
    }


MODEL_DEFAULTS = {"sequence": _sequence, "mlp": _mlp, "draw": _draw, "sweep": _sweep}


def default(model: str = "sequence") -> ConfigDict:
    """The default config with the hyperparameters of `model`, locked.

    Raises ConfigError for an unknown model.
    """
    hyperparameters = choose(MODEL_DEFAULTS, "the model of default()", model)
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
    config.latent.posterior = "diagonal"  # the posterior: diagonal, autoregressive
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
