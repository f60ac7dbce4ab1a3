"""The flagship: an autoencoder of recurrent sweeps on binarised MNIST.

python -m rnnae.main --config configs/mnist_sweep.py
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.binarise = "dynamic"
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.latent.name = "autoregressive"
    config.latent.size = 16
    config.likelihood.name = "categorical"
    config.model.encoder_blocks = 1
    config.objective.free_bits = 0.5
    config.objective.anneal_steps = 1000
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.eval.seeds = (0, 1, 2)
    config.train.epochs = 7
    config.train.steps_per_call = 20
    return config
