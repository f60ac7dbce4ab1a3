"""MNIST with an LSTM over rows, both ways, to 64 numbers and back.

    python -m rnnae.main --config configs/mnist.py
"""

from rnnae.config import default


def get_config():
    return default("sequence")
