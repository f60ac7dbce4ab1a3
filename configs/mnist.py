"""MNIST, rows both ways by LSTM, to 64 numbers and back: the main job.

python -m rnnae.main --config configs/mnist.py
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    return default("sequence")
