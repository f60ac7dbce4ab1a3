"""default(): every hyperparameter with its meaning.

A config file in `configs/` is `default()` plus its differences. The config is locked, so a key that
does not stand here does not exist. `config.model` holds the hyperparameters of one model only. The
comment behind a key is what `--helpfull` prints.
"""

from ml_collections import ConfigDict

from rnnae.errors import choose


def _sequence() -> dict:
    return {
        "name": "sequence",  # the model; chosen by the config file
        "order": "rows",  # scan order: what one token is
        "patch": 4,  # side of a token in pixels, for order=patches
        "cell": "lstm",  # recurrent cell
        "width": 96,  # D, units of each cell; each direction has its own cell
        "layers": 1,  # recurrent layers in the encoder, and in the decoder
        "connections": "residual",  # residual: each layer but the first adds to its input; skip:
        # the output is the sum of all layers
        "encoder_direction": "both",  # direction of the encoder's layers
        "decoder_direction": "both",  # of the decoder's layers; autoregressive=True needs forward
        "readout": "all",  # encoder outputs that the latent reads: the last state, or all steps
        "latent_input": "both",  # how the latent enters the decoder
        "autoregressive": False,  # each decoder step also reads the token before it
    }


def _mlp() -> dict:
    return {
        "name": "mlp",  # the model; chosen by the config file
        "widths": (512, 256),  # hidden units of the encoder's layers; the decoder mirrors them
    }


def _draw() -> dict:
    return {
        "name": "draw",  # the model; chosen by the config file
        "cell": "lstm",  # recurrent cell
        "width": 256,  # D, units of the encoder's cell and of the decoder's
        "steps": 64,  # T, glimpses; each samples latent.size latent dimensions
        "read_size": 2,  # side of the grid of the reading window; 0 = read the whole image
        "write_size": 5,  # side of the grid of the writing window; 0 = write the whole canvas
        "learned_prior": False,  # p(z_t) depends on the decoder's state; else standard normal
        "canvas": 8,  # canvas channels, if the likelihood has several parameters per value
    }


def _sweep() -> dict:
    return {
        "name": "sweep",  # the model; chosen by the config file
        "patch": 2,  # side of a token in pixels
        "cell": "min_gru",  # recurrent cell
        "width": 64,  # D, of both streams and of the state of every sweep
        "blocks": 3,  # decoder blocks, each with a vertical and a horizontal part
        "encoder_blocks": 2,  # encoder blocks, if there is a latent
        "expansion": 2,  # hidden units of a block's MLP, as a multiple of the width
        "condition": "film",  # how the latent enters every block; add: a shift without a scale
        "segment": 0,  # restart the decoder's forward sweeps after so many tokens; 0 = never
        "input_window": False,  # the decoder also starts from more neighbours of a token, see
        # models/sweep_decoder.py
        "chain": 0,  # hidden units of a head that draws the pixels of a token one after another;
        # 0 = they are independent, or one softmax (likelihood.block)
        "orders": 1,  # scan orders whose mixture is the model: 1, 2, 4 or 8
        "sweeps_above": "both",  # directions of the sweeps across the rows above
        "sweep_down": True,  # sweep down the rows above; else only the row above is seen
        "sweep_row": True,  # sweep over the tokens to the left; else only the nearest is seen
        "token_latent_width": 8,  # width of the latent's projection to each token, and of the
        # encoder's readout of each token
    }


def _classifier() -> dict:
    return {
        "name": "classifier",  # the model; chosen by the config file
        "cell": "lstm",  # recurrent cell
        "width": 64,  # D, units of each cell; each direction has its own cell
        "layers": 1,  # recurrent layers
        "connections": "residual",  # residual: each layer but the first adds to its input; skip:
        # the output is the sum of all layers
        "features": 64,  # activations before the output layer
        "shift": 2,  # pixels by which training images are moved at random, at most
    }


MODEL_DEFAULTS = {
    "sequence": _sequence,
    "mlp": _mlp,
    "draw": _draw,
    "sweep": _sweep,
    "classifier": _classifier,
}


def default(model: str = "sequence") -> ConfigDict:
    """The default config with the hyperparameters of `model`, locked.

    Raises ConfigError for an unknown model.
    """
    hyperparameters = choose(MODEL_DEFAULTS, "the model of default()", model)
    config = ConfigDict()
    config.seed = 0  # seed of parameters, data order, noise and samples; not of evaluations

    config.data = ConfigDict()
    config.data.name = "mnist"  # dataset; or any TFDS dataset that is prepared in data_dir
    config.data.data_dir = "data"  # directory of prepared TFDS data sets
    config.data.source_dir = ""  # directory of the published files, or of your images (name=folder)
    config.data.shape = (0, 0, 0)  # height, width, channels; needed for name=folder only
    config.data.split_seed = 0  # seed of the random split of a folder; not changed by config.seed
    config.data.background = ""  # colour behind transparent pixels, as white; "" = refuse them
    config.data.skip_bad_images = False  # leave out images of a folder that cannot be used
    config.data.max_megapixels = 200.0  # larger images of a folder are refused
    config.data.fingerprint = ""  # hash of the images, filled in by the run; leave it empty
    config.data.class_names = ()  # names of the classes, filled in by the run; leave it empty
    config.data.batch_size = 256  # images per step, over all devices
    config.data.train_on_all = False  # also train on the validation images, and do not validate
    config.data.train_images = 0  # train on the first n images only; 0 = all
    config.data.in_memory_gib = 4.0  # splits larger than this are read from disk batch by batch
    config.data.label_dropout = 0.1  # fraction of visits whose class is unknown (model.classes > 0)
    config.data.augment = "none"  # transform training images, and tell the model how (sweep only)
    config.data.augment_fraction = 0.5  # fraction of visits with a transformed image
    config.data.binarise = "none"  # dynamic: pixels ~ Bernoulli(intensity) at every visit

    config.model = ConfigDict(hyperparameters())
    config.model.classes = 0  # classes that the decoder of any model is told; 0 = none

    config.latent = ConfigDict()
    config.latent.name = "deterministic"  # kind of latent, with its prior (deterministic has none)
    config.latent.size = 64  # Z, latent dimensions
    config.latent.components = 100  # components of the priors mixture and vamp
    config.latent.posterior = "diagonal"  # form of the Gaussian posterior
    config.latent.chunk = 8  # dimensions per step of autoregressive priors and posteriors
    config.latent.width = 128  # units of the LSTM of autoregressive priors and posteriors

    config.likelihood = ConfigDict()
    config.likelihood.name = "gaussian"  # p(image | decoder outputs)
    config.likelihood.sigma = 0.5**0.5  # gaussian: standard deviation; here, the squared error
    config.likelihood.block = 2  # categorical: side of the patch that is one softmax
    config.likelihood.components = 10  # logistic_mixture: components
    config.likelihood.frequencies = 0  # logistic_mixture, softmax: number of frequencies of the
    # Fourier features of a value that sweeps read, 1, 2, 4 and so on

    config.objective = ConfigDict()
    config.objective.beta = 1.0  # weight of the KL
    config.objective.anneal_steps = 0  # steps over which the KL's weight rises from 0 to beta
    config.objective.free_bits = 0.0  # minimum KL charged per latent dimension, in nats

    config.optim = ConfigDict()
    config.optim.name = "adam"  # muon: orthogonalised updates for matrices, Adam for the rest
    config.optim.learning_rate = 1e-3  # at its peak
    config.optim.schedule = "warmup_cosine"  # schedule of the learning rate
    config.optim.warmup_steps = 500  # steps of linear warm-up, at most half of the run
    config.optim.final_fraction = 0.01  # final learning rate of the schedule, as a fraction
    config.optim.decay_fraction = 1.0  # part of the run in which warmup_linear decays, at its end
    config.optim.b1 = 0.9  # Adam's decay of the first moment (with muon, for vectors only)
    config.optim.b2 = 0.999  # Adam's decay of the second moment (with muon, for vectors only)
    config.optim.weight_decay = 0.0  # decoupled, as in AdamW
    config.optim.clip_norm = 1.0  # clips the global norm of the gradient; 0 = off
    config.optim.matmul_precision = "float32"  # of the operands of matmuls in training
    config.optim.ema = 0.999  # decay of the averaged weights that are evaluated; 0 = off

    config.train = ConfigDict()
    config.train.epochs = 50  # passes over the training images
    config.train.max_steps = 0  # train this many steps instead of epochs; 0 = use epochs
    config.train.steps_per_call = 13  # steps in one program on the device, at most
    config.train.eval_every_epochs = 2  # validate, and draw figures, this often and after epoch 1
    config.train.checkpoint_every_seconds = 300  # and also at each validation
    config.train.init_from = ""  # weights to start from: the directory of a run, or as --weights
    config.train.tensorboard = True  # also write TensorBoard event files

    config.eval = ConfigDict()
    config.eval.batch_size = 500  # images at a time; changes no result
    config.eval.splits = ("valid", "test")  # splits that --mode evaluate measures; () = none;
    # with "train", the end of training also measures 10,000 training images
    config.eval.seeds = (0,)  # seeds of binarisation and latent samples; results are means
    config.eval.importance_samples = 128  # K of the test log-likelihood estimate; 0 = bound only
    config.eval.mutual_information_images = 1000  # images of the mutual information; 0 = off
    config.eval.samples = 0  # new images that the test compares with test images, after training
    # and in --mode evaluate; 0 = off
    config.eval.temperature = 1.0  # of these new images; no likelihood depends on it
    config.eval.guidance = 0.0  # of these new images, towards their class; likewise
    config.eval.features = ""  # weights whose features compare them: a name or a directory; "" =
    # those for the data set and the protocol
    config.eval.inception_weights = ""  # file of Inception weights, for the FID of RGB images
    config.eval.checkpoint = "latest"  # to evaluate and sample; best = lowest validation loss
    config.eval.mixture_components = 100  # Gaussians of the mixture fitted after training

    # data.data_dir, data.source_dir and this path are never taken from the config of a saved run.
    config.compilation_cache = "~/.cache/rnnae/jax"  # directory of compiled programs; "" = off
    config.keep_memory = True  # keep freed memory in the process: faster on CPUs with glibc
    config.cpu_microbatch = 0  # on CPUs, images that go through the model at a time; 0 = all
    config.devices = 0  # accelerators, or virtual CPU devices, to use; 0 = choose automatically
    return config.lock()
