"""A recurrent variational autoencoder on binarised MNIST, not autoregressive.

python -m rnnae.main --config configs/mnist_vae.py
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sequence")
    config.data.binarise = "dynamic"
    config.data.batch_size = 128
    config.likelihood.name = "bernoulli"
    config.latent.name = "gaussian"
    config.latent.size = 40
    config.model.width = 128
    config.optim.learning_rate = 3e-3
    config.train.eval_every_epochs = 5
    config.eval.seeds = (0, 1, 2)
    return config
