"""DRAW with attention on binarised MNIST (Gregor et al. 2015): 24 glimpses through 12x12 windows.

    python -m rnnae.main --config configs/mnist_draw.py

The paper has 64 glimpses that read 2x2 and write 5x5, 100 numbers each, and a standard-normal
prior. Larger windows, a learned prior and a higher learning rate learn several times faster.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("draw")
    config.data.binarise = "dynamic"
    config.data.batch_size = 128
    config.model.steps = 24
    config.model.read_size = 12
    config.model.write_size = 12
    config.model.learned_prior = True
    config.likelihood.name = "bernoulli"
    config.latent.name = "gaussian"
    config.latent.size = 16
    config.optim.learning_rate = 4e-3
    config.optim.precision = "bfloat16"
    config.eval.seeds = (0, 1, 2)
    config.eval.information_images = 100
    config.train.epochs = 100
    config.train.eval_every_epochs = 5
    config.train.steps_per_call = 20
    return config
