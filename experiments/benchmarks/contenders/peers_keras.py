"""Keras 3 on JAX: layers of Keras, trained by `train_on_batch`."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import importlib.metadata  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402

from experiments.benchmarks.turns import Program  # noqa: E402

VERSIONS = {name: importlib.metadata.version(name) for name in ("keras", "jax")}
_RNN = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def row(size: dict) -> Program:
    """Like `ours.row`."""
    _precision(size)
    rnn, width = _RNN[size["cell"]], size["width"]
    rows, position = keras.Input((28, 28)), keras.Input((28, 1))
    latent = keras.layers.Dense(64)(rnn(width)(rows))
    # The learned input of each step: an embedding of the number of the step.
    inputs = keras.layers.Embedding(28, 64)(keras.ops.squeeze(position, -1))
    starts = [keras.layers.Dense(width)(latent) for _ in range(2 if size["cell"] == "lstm" else 1)]
    outputs = rnn(width, return_sequences=True)(inputs, initial_state=starts)
    model = keras.Model([rows, position], keras.layers.Dense(28, dtype="float32")(outputs))
    positions = np.broadcast_to(np.arange(28)[None, :, None], (size["batch"], 28, 1))
    x_BTI = np.random.default_rng(0).random((size["batch"], 28, 28), np.float32)
    return _training(model, "mse", [x_BTI, positions], x_BTI)


def pixels(size: dict) -> Program:
    """Like `ours.pixels`."""
    _precision(size)
    before = keras.Input((784, 1))
    h = keras.layers.LSTM(size["width"], return_sequences=True)(before)
    model = keras.Model(before, keras.layers.Dense(1, dtype="float32")(h))
    x_BTI = np.random.default_rng(0).integers(0, 2, (size["batch"], 784, 1)).astype(np.float32)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return _training(model, loss, np.pad(x_BTI[:, :-1], ((0, 0), (1, 0), (0, 0))), x_BTI)


def _precision(size: dict) -> None:
    if size["precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")


def _training(model, loss, inputs, targets) -> Program:
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)

    def run(steps: int) -> None:
        for _ in range(steps):
            model.train_on_batch(inputs, targets)

    return Program(run, VERSIONS)
