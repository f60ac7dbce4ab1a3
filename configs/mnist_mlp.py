"""The baseline row: a plain MLP autoencoder (784-512-256-64 and back) in the protocol of mnist.py.

python -m rnnae.main --config configs/mnist_mlp.py
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    return default("mlp")
