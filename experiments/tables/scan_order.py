"""Scan order: in which order should a recurrent network read and write an image?

The autoencoder of configs/mnist_vae.py over rows, columns, patches and single pixels, in both
directions, and over rows in one direction too. Long sequences of small tokens are compared with
short sequences of large tokens, at equal width.

PixelRNN (van den Oord et al. 2016) compares rows with diagonals.
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
_ONE_WAY = {"model.encoder_direction": "forward", "model.decoder_direction": "forward"}
ROWS = {
    "rows, forward only": {"model.order": "rows", **_ONE_WAY},
    "rows": {"model.order": "rows"},
    "columns": {"model.order": "columns"},
    "patches 2x2": {"model.order": "patches", "model.patch": 2},
    "patches 4x4": {"model.order": "patches", "model.patch": 4},
    "patches 7x7": {"model.order": "patches", "model.patch": 7},
    "pixels": {"model.order": "pixels"},
}
CPU = {"train.epochs": 3, "eval.importance_samples": 0, "eval.seeds": (0,), "model.width": 64}
CPU_SEEDS = (0,)
CPU_ANSWER = (
    "Rows both ways have the best bound, 103.14 ± 0.33 nats, rows one way 105.22 ± 0.09, "
    "patches of 2x2 104.10 ± 0.24, and pixels 104.15 ± 0.24 at 24 times the arithmetic of rows."
)
