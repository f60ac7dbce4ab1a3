"""Samples: how good are the new images of each model?

The new images of the models of this repository at their headline settings (at `--size cpu`, after
short training), compared with the test images. Training images in place of new ones have the
metrics that a perfect model would reach.

Metrics are of 10,000 new images, or of 2,000 at `--size cpu`. The row LSTM is that of
configs/mnist.py, whose latents are drawn from a mixture of Gaussians that is fitted after training
(Ghosh et al. 2020), or from a mixture fitted to each class. Grey rows are 8-bit images, in the
features `rows64`. Dynamic rows are binarised, in the features `rows64_dynamic`. Images and features
differ, so grey rows cannot be compared with dynamic rows in any column. Fréchet and kernel distance
(KID) have the units of the features, so each protocol has its own column. Both are better if lower,
and all others if higher. Precision and recall are those of Kynkäänniemi et al. (2019), density and
coverage those of Naeem et al. (2020). The standard error of KID is over blocks of images. Class
accuracy is the share of new images that the classifier assigns to the class that was asked for.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "MNIST, 10,000 test images; 50,000 training images, 60,000 for sweeps; new images and "
    "binarisation of seed 0"
)
SEEDS = (0, 1, 2)
# Number of new images, at the end of a metric's name.
_COUNTS = ("10k", "2k")
_BOTH = tuple(
    f"{features}_{count}" for features in ("rows64", "rows64_dynamic") for count in _COUNTS
)
METRICS = {
    "Fréchet, grey": tuple(f"test/frechet_rows64_{count}" for count in _COUNTS),
    "Fréchet, dynamic": tuple(f"test/frechet_rows64_dynamic_{count}" for count in _COUNTS),
    "KID, grey": tuple(f"test/kid_rows64_{count}" for count in _COUNTS),
    "KID, dynamic": tuple(f"test/kid_rows64_dynamic_{count}" for count in _COUNTS),
    "precision": tuple(f"test/precision_{end}" for end in _BOTH),
    "recall": tuple(f"test/recall_{end}" for end in _BOTH),
    "density": tuple(f"test/density_{end}" for end in _BOTH),
    "coverage": tuple(f"test/coverage_{end}" for end in _BOTH),
    "class accuracy": tuple(f"test/class_accuracy_{end}" for end in _BOTH),
}
BOLD = ()  # the best number would be that of training images
_SAMPLED = {"eval.samples": 10_000, "eval.seeds": (0,), "eval.importance_samples": 0}
_NO_LIKELIHOODS = {"eval.splits": ()}
ROWS = {
    "grey: training images": {
        "weights_from": "grey: row LSTM",
        "shows": "floor",
        **_NO_LIKELIHOODS,
    },
    "grey: row LSTM": {"config": "configs/mnist.py", **_SAMPLED},
    "grey: row LSTM, mixtures of classes": {
        "weights_from": "grey: row LSTM",
        "shows": "given_class",
        **_NO_LIKELIHOODS,
    },
    "dynamic: training images": {
        "weights_from": "dynamic: row LSTM VAE",
        "shows": "floor",
        **_NO_LIKELIHOODS,
    },
    "dynamic: row LSTM VAE": {"config": "configs/mnist_vae.py", **_SAMPLED},
    "dynamic: DRAW": {"config": "configs/mnist_draw.py", **_SAMPLED},
    "dynamic: sweeps": {"latent.name": "none", "train.epochs": 7, **_SAMPLED},
    "dynamic: sweeps, latent of 4": {"train.epochs": 7, **_SAMPLED},
    "dynamic: sweeps, classes": {"config": "configs/mnist_classes.py", **_SAMPLED},
}
_FEWER = {"eval.samples": 2000}
_SHORT = {"train.max_steps": 600, **_FEWER}
CPU_ROWS = {
    "grey: row LSTM": {"train.epochs": 5, **_FEWER},
    "dynamic: row LSTM VAE": {"train.epochs": 3, **_FEWER},
    "dynamic: DRAW": {"train.epochs": 1, **_FEWER},
    "dynamic: sweeps": _SHORT,
    "dynamic: sweeps, latent of 4": {"objective.anneal_steps": 60, **_SHORT},
    "dynamic: sweeps, classes": _SHORT,
}
CPU_SEEDS = (0,)
CPU_ANSWER = (
    "After short training, the Fréchet distance of 2,000 binarised images is 0.40 for sweeps "
    "with classes, 2.0 for sweeps, 12.3 for DRAW, 14.7 for the row LSTM VAE and 0.23 for "
    "training images, and that of grey images of a row LSTM 0.97, of training images 0.21."
)
