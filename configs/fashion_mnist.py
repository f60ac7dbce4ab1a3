"""Fashion-MNIST, with the model and protocol of mnist.py.

    python -m rnnae.main --config configs/fashion_mnist.py --config.data.source_dir=DIR

DIR holds the four IDX files. Without it they are downloaded from their published address.
This config was not trained yet, so there is no number here. The ablation table `data` has numbers
of the sweep model on Fashion-MNIST.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sequence")
    config.data.name = "fashion_mnist"
    return config
