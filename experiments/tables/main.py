"""Main: how well do recurrent autoencoders generate digits?

Every model of this repository at its headline setting, by exact or importance-sampled likelihood,
beside what the literature reports. Static and dynamic binarisation differ by 0.5 to 1 nat and are
never compared with each other: each row says which it is.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "binarised MNIST, 10,000 test images; nats per image"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL, dynamic": ("test/nll_dynamic", "test/nll_dynamic_is128"),
    "bound, dynamic": "test/bound_dynamic",
    "NLL, static": ("test/nll_static", "test/nll_static_is128"),
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
    "active units": "test/active_units",
}
_STATIC = {  # overfits sooner: the same images at every visit
    "data.name": "binarized_mnist",
    "data.binarise": "none",
    "eval.seeds": (0,),
    "train.epochs": 7,
    "optim.weight_decay": 0.05,
}
ROWS = {
    "rows by LSTM, variational": {"config": "configs/mnist_vae.py"},
    "DRAW": {"config": "configs/mnist_draw.py"},
    "sweeps": {"latent.name": "none"},
    "sweeps, width 96": {"latent.name": "none", "model.width": 96},
    "sweeps, code of 4": {},
    "sweeps, static": {"latent.name": "none", **_STATIC},
}
CPU = {"eval.importance_samples": 0}
CPU_ROWS = {
    "rows by LSTM, variational": {"train.epochs": 12},
    "DRAW": {"train.epochs": 2},
    "sweeps": {"train.epochs": 1},
    "sweeps, width 96": {"train.epochs": 1},
    "sweeps, code of 4": {"train.epochs": 1},
    "sweeps, static": {"train.epochs": 1},
}
CPU_SEEDS = (0,)
LITERATURE = {
    "NVAE": ("78.01", "Vahdat & Kautz 2020"),
    "VLAE": ("78.53", "Chen et al. 2016"),
    "DRAW with a variational Gaussian process, bound": ("79.88", "Tran et al. 2015"),
    "PixelCNN": ("81.45", "pytorch-generative"),
    "MADE": ("84.87", "pytorch-generative"),
}
