"""1,000 digits and a small model: everything that configs/mnist.py does, in seconds.

    python -m rnnae.main --config configs/smoke.py

Measured at commit 9cdbc8c on 2 cores of an AMD EPYC, no GPU, jax 0.10.2: 186,236 parameters, 29 s
for the whole command, compilation included. Test MSE 0.03440 (one seed).
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sequence")
    config.data.train_images = 1000
    config.data.batch_size = 100
    config.model.width = 48
    config.latent.size = 32
    config.optim.learning_rate = 3e-3
    config.train.epochs = 10
    config.train.steps_per_call = 10
    config.train.eval_every_epochs = 5
    config.eval.mixture_components = 10
    return config
