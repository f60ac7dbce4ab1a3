"""Sweeps that are told the class, on 8-bit natural images.

    python -m rnnae.main --config configs/cifar10_classes.py --config.data.source_dir=DIR
    python -m rnnae.main --mode sample --workdir runs/cifar10_classes --label frog --out frogs.png

DIR holds the published binary files (cifar-10-batches-bin). Without it the archive is downloaded
from its published address. The settings are those of configs/cifar10_sweep.py, where the larger
model for an accelerator is too. This config was not trained yet, so there is no number here.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.name = "cifar10"
    config.data.batch_size = 16
    config.likelihood.name = "logistic_mixture"
    config.latent.name = "none"
    config.model.classes = 10
    config.model.patch = 1
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 200
    config.optim.b2 = 0.99
    config.eval.batch_size = 50
    config.train.epochs = 2
    config.train.steps_per_call = 5
    config.cpu_microbatch = 1
    return config
