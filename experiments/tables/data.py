"""Data: the sweep model on other images.

configs/mnist_sweep.py and configs/cifar10_sweep.py without a latent, on binary digits and letters,
and with a mixture of logistics on 8-bit grey and colour images.

Comparable tables are those of OMNIGLOT in the variational lossy autoencoder (Chen et al. 2016) and
of CIFAR-10 in PixelRNN (van den Oord et al. 2016).
"""

CONFIG = "configs/mnist_sweep.py"
# All data sets but MNIST are read from config.data.source_dir, or downloaded.
PROTOCOL = (
    "training images: 50,000 of MNIST and Fashion-MNIST, 23,000 of OMNIGLOT, 40,000 of CIFAR-10; "
    "test images: 10,000, of OMNIGLOT 8,070; nats per image with dynamic binarisation, bits per "
    "dimension of 8-bit images"
)
SEEDS = (0, 1, 2)
METRICS = {"NLL, nats": "test/nll_dynamic", "bits/dim": "test/bits_per_dim_8bit"}
BOLD = ()  # rows on different data cannot be compared
_NONE = {"latent.name": "none", "data.train_on_all": False}
_GREY = {
    **_NONE,
    "data.binarise": "none",
    "likelihood.name": "logistic_mixture",
    "model.patch": 1,
    "cpu_microbatch": 1,
    "eval.seeds": (0,),
}
ROWS = {
    "MNIST": _NONE,
    "Fashion-MNIST": {**_NONE, "data.name": "fashion_mnist"},
    "OMNIGLOT": {**_NONE, "data.name": "omniglot_28"},
    "MNIST, 8-bit": _GREY,
    "Fashion-MNIST, 8-bit": {**_GREY, "data.name": "fashion_mnist"},
    "CIFAR-10": {"config": "configs/cifar10_sweep.py"},
}
CPU = {"train.max_steps": 600}
CPU_SEEDS = (0,)
CPU_ANSWER = (
    "After 600 steps it has 1.123 ± 0.003 bits/dim on 8-bit MNIST, 2.932 ± 0.009 on "
    "Fashion-MNIST and 4.232 ± 0.006 on CIFAR-10, and 82.22 ± 0.20 and 229.83 ± 0.75 nats on "
    "binarised MNIST and Fashion-MNIST."
)
LITERATURE = {
    "S4, MNIST, 8-bit": ({"bits/dim": "0.52"}, "annotated-s4"),
    "VLAE, OMNIGLOT": ({"NLL, nats": "89.83"}, "Chen et al. 2016"),
    "DRAW, OMNIGLOT, bound": ({"NLL, nats": "96.50"}, "Gregor et al. 2016"),
    "Conv DRAW, OMNIGLOT, bound": ({"NLL, nats": "91.00"}, "Gregor et al. 2016"),
    "Row LSTM, CIFAR-10": ({"bits/dim": "3.07"}, "van den Oord et al. 2016"),
    "PixelRNN, CIFAR-10": ({"bits/dim": "3.00"}, "van den Oord et al. 2016"),
    "Conv DRAW, CIFAR-10, bound": ({"bits/dim": "3.58"}, "Gregor et al. 2016"),
    "DRAW, CIFAR-10, bound": ({"bits/dim": "4.13"}, "Gregor et al. 2016"),
}
