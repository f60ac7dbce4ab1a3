"""DRAW with attention on binarised MNIST (Gregor et al. 2015): 64 glimpses, read 2x2, write 5x5.

python -m rnnae.main --config configs/mnist_draw.py

The paper's setting. Not trained to its end yet, so there is no number here.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("draw")
    config.data.binarise = "dynamic"
    config.data.batch_size = 128
    config.likelihood.name = "bernoulli"
    config.latent.name = "gaussian"
    config.latent.size = 100
    config.eval.seeds = (0, 1, 2)
    config.eval.information_images = 100
    config.train.steps_per_call = 4
    return config
