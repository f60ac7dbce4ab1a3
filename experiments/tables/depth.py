"""Depth: do more layers help at equal FLOP, and which connections do they need?

The recurrent variational autoencoder of configs/mnist_vae.py with 1 to 8 layers in encoder and
decoder. Widths are chosen so that the training FLOP per image match one layer of width 128 (64 at
`--size cpu`) within 3 %.

Tables 2 and 3 of PixelRNN (van den Oord et al. 2016) compare depths at equal width instead. For two
layers, residual and skip connections are the same.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = "MNIST with dynamic binarisation, 50,000 training and 10,000 test images; nats per image"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL (K = 128)": "test/nll_dynamic_is128",
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "MSE": "test/mse",
}
_NONE, _SKIP = {"model.connections": "none"}, {"model.connections": "skip"}
_2 = {"model.layers": 2, "model.width": 69}
_4 = {"model.layers": 4, "model.width": 45}
_8 = {"model.layers": 8, "model.width": 31}
ROWS = {
    "1 layer": {"model.layers": 1, "model.width": 128},
    "2 layers": {**_2, **_NONE},
    "2 layers, residual": _2,
    "4 layers": {**_4, **_NONE},
    "4 layers, residual": _4,
    "4 layers, skip": {**_4, **_SKIP},
    "8 layers": {**_8, **_NONE},
    "8 layers, residual": _8,
    "8 layers, skip": {**_8, **_SKIP},
}
CPU = {"train.epochs": 8, "eval.importance_samples": 0, "eval.seeds": (0,)}
CPU_ROWS = {
    "1 layer": {"model.width": 64},
    "2 layers": {"model.width": 37},
    "2 layers, residual": {"model.width": 37},
    "4 layers": {"model.width": 24},
    "4 layers, residual": {"model.width": 24},
    "4 layers, skip": {"model.width": 24},
    "8 layers": {"model.width": 17},
    "8 layers, residual": {"model.width": 17},
    "8 layers, skip": {"model.width": 17},
}
CPU_ANSWER = (
    "Open: one row was run as a check, 4 layers with residual connections, with a bound of "
    "96.79 ± 0.24 nats."
)
