"""Fashion-MNIST in the protocol of mnist.py.

    python -m rnnae.main --config configs/fashion_mnist.py --config.data.source_dir=DIR

DIR holds the four IDX files; without it they are downloaded from the published address.
Not trained on the published files yet, so there is no number here; sweeps were, by the table `data`
of experiments/.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sequence")
    config.data.name = "fashion_mnist"
    return config
