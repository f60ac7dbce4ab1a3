"""Sweeps in eight scan orders, without a latent, on binarised MNIST.

    python -m rnnae.main --config configs/mnist_orders.py

One set of weights reads an image in each of the eight orders that the symmetries of the square
give. The model is the mixture of the eight, and its likelihood is exact.
Its training is not finished, so no number is given.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.binarise = "dynamic"
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.latent.name = "none"
    config.likelihood.name = "categorical"
    config.model.cell = "gru"
    config.model.input_window = True
    config.model.orders = 8
    config.model.width = 96
    config.optim.name = "muon"
    config.optim.learning_rate = 3e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.optim.matmul_precision = "bfloat16"
    config.eval.seeds = (0, 1, 2)
    config.eval.splits = ("train", "test")
    config.train.epochs = 30
    config.train.steps_per_call = 20
    config.cpu_microbatch = 5
    return config
