"""Time to NLL: how many minutes of training does a given likelihood take?

configs/mnist_sweep.py without a latent, trained for as many steps as bring it to a given NLL, as it
is (`plain`) and with a recipe that learns more in each minute (`fast`).

A label has the target: 81.45 nats are those of PixelCNN (pytorch-generative), 79.88 the bound of
DRAW with a Gaussian process (Tran et al. 2015). `fast` reads an input window, and trains in smaller
batches, with matrix products in bfloat16 and a learning rate that falls to zero. The steps are
estimates, to be chosen on the validation images before the table is run. Minutes are those of
training, without compilation and evaluation, and compare within one machine only.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "MNIST with dynamic binarisation, 60,000 training and 10,000 test images; exact likelihood in "
    "nats per image"
)
SEEDS = (0,)
METRICS = {"NLL": "test/nll_dynamic"}
BOLD = ()
_FAST = {
    "model.input_window": True,
    "data.batch_size": 30,
    "optim.matmul_precision": "bfloat16",
    "optim.final_fraction": 0.0,
}
_WIDE = {"model.width": 96}
ROWS = {
    "81.45, plain": {"train.max_steps": 900},
    "81.45, fast": {**_FAST, "train.max_steps": 1050, "optim.warmup_steps": 150},
    "79.88, plain": {"train.max_steps": 2100},
    "79.88, fast": {**_FAST, "train.max_steps": 3100},
    "79.2, plain": {"train.max_steps": 4700},
    "79.2, fast": {**_FAST, "train.max_steps": 6700},
    "78.5, plain": {**_WIDE, "train.max_steps": 12_000},
    "78.5, fast": {**_FAST, **_WIDE, "train.max_steps": 20_000},
}
ROWS = {label: {"latent.name": "none", **changes} for label, changes in ROWS.items()}
