"""Main: how well do recurrent autoencoders generate digits?

Every model of this repository at its headline setting, at `--size cpu` for a few epochs, by exact
likelihood, by importance sampling with 128 codes (at `--size full`), or by a bound, beside what the
literature reports, as the tables of PixelRNN (van den Oord et al. 2016) and of the variational
lossy autoencoder (Chen et al. 2016). Static and dynamic binarisation differ by 0.5 to 1 nat and are
never compared with each other: each has its column. The information between images and codes is
estimated among 1,000 images, DRAW's among 100, and cannot exceed their logarithm: 6.9 and 4.6.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "binarised MNIST, 10,000 test images; sweeps train on all 60,000 others where dynamic, all "
    "else on 50,000; nats per image"
)
SEEDS = (0, 1, 2)
METRICS = {
    "NLL, dynamic": ("test/nll_dynamic", "test/nll_dynamic_is128"),
    "bound, dynamic": "test/bound_dynamic",
    "NLL, static": ("test/nll_static", "test/nll_static_is128"),
    "bound, static": "test/bound_static",
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
    "active units": "test/active_units",
}
_LSTM, _DRAW = {"config": "configs/mnist_vae.py"}, {"config": "configs/mnist_draw.py"}
_STATIC = {
    "data.name": "binarized_mnist",
    "data.binarise": "none",
    "data.train_on_all": False,
    "eval.seeds": (0,),
}
ROWS = {
    "rows by LSTM, variational": _LSTM,
    "DRAW": _DRAW,
    "sweeps": {"latent.name": "none", "train.epochs": 13},
    "sweeps, width 96": {"latent.name": "none", "model.width": 96, "train.epochs": 10},
    "sweeps, code of 4": {},
    "rows by LSTM, variational, static": {**_LSTM, **_STATIC},
    "DRAW, static": {**_DRAW, **_STATIC},
    "sweeps, static": {  # overfits sooner: the same images at every visit
        "latent.name": "none",
        **_STATIC,
        "train.epochs": 7,
        "optim.weight_decay": 0.05,
    },
}
CPU = {"eval.importance_samples": 0}
CPU_ROWS = {
    "rows by LSTM, variational": {"train.epochs": 6},
    "DRAW": {"train.epochs": 2},
    "sweeps": {"train.epochs": 1},
    "sweeps, width 96": {"train.epochs": 1},
    "sweeps, code of 4": {"train.epochs": 1, "objective.anneal_steps": 120},
    "rows by LSTM, variational, static": {"train.epochs": 6},
    "DRAW, static": {"train.epochs": 2},
    "sweeps, static": {"train.epochs": 1},
}
CPU_SEEDS = (0,)
LITERATURE = {
    "NVAE": ({"NLL, dynamic": "78.01"}, "Vahdat & Kautz 2020"),
    "VLAE": ({"NLL, dynamic": "78.53", "NLL, static": "79.03"}, "Chen et al. 2016"),
    "PixelVAE": ({"NLL, static": "79.02", "bound, static": "79.66"}, "Gulrajani et al. 2016"),
    "IAF-VAE": (
        {"NLL, dynamic": "79.10", "bound, dynamic": "80.80", "NLL, static": "79.88"},
        "Kingma et al. 2016",
    ),
    "PixelRNN, 7 layers": ({"NLL, static": "79.20"}, "van den Oord et al. 2016"),
    "Professor forcing": ({"NLL, static": "79.58"}, "Lamb et al. 2016"),
    "Variational Bi-LSTM": ({"bound, static": "79.78"}, "Shabanian et al. 2017"),
    "Z-forcing": ({"bound, static": "80.09"}, "Goyal et al. 2017"),
    "DRAW with a variational Gaussian process": ({"bound, dynamic": "79.88"}, "Tran et al. 2015"),
    "DRAW": ({"bound, static": "80.97"}, "Gregor et al. 2015"),
    "DRAW with LayerNorm": ({"bound, static": "82.09"}, "Ba et al. 2016"),
    "PixelCNN": ({"NLL, dynamic": "81.45"}, "pytorch-generative"),
    "MADE": ({"NLL, dynamic": "84.87"}, "pytorch-generative"),
}
