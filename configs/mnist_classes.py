"""Sweeps that are told the class: digits of the class one asks for, on binarised MNIST.

    python -m rnnae.main --config configs/mnist_classes.py
    python -m rnnae.main --mode sample --workdir runs/mnist_classes --label 7 --out sevens.png

It is the model of configs/mnist_sweep.py without a latent. The class enters every block of the
decoder. It is unknown in a tenth of the visits, so that one model gives p(x | y) and p(x).
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.binarise = "dynamic"
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.model.classes = 10
    config.latent.name = "none"
    config.likelihood.name = "categorical"
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.eval.seeds = (0, 1, 2)
    config.train.epochs = 7
    config.train.steps_per_call = 20
    config.cpu_microbatch = 5
    return config
