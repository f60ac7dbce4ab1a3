"""A recurrent classifier of MNIST, whose features measure how good new digits are.

python -m rnnae.main --config configs/mnist_features.py
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("classifier")
    config.model.classes = 10
    config.latent.name = "none"
    config.data.label_dropout = 0.0
    config.data.batch_size = 128
    config.optim.name = "muon"
    config.optim.learning_rate = 4e-3
    config.optim.warmup_steps = 300
    config.optim.weight_decay = 0.05
    config.train.epochs = 20
    config.train.steps_per_call = 26
    config.train.eval_every_epochs = 5
    return config
