# %% [markdown]
# # rnnae in five minutes
#
# Run it as a script, or open it as a notebook (the format is that of jupytext).
# It takes about a minute on two CPU cores and needs no network.

# %%
import numpy as np
from PIL import Image

import rnnae
from rnnae import build
from rnnae.data.binarisation import binarise_once


def show(images: np.ndarray, name: str) -> None:
    """Saves a row of images (N, 28, 28, 1), enlarged."""
    row = np.concatenate(list(images[..., 0]), axis=1)
    Image.fromarray(row).resize((4 * row.shape[1], 4 * row.shape[0]), 0).save(name)


# %% [markdown]
# ## Weights that come with the package
#
# `mnist_classes` draws binary digits token by token, of the class that one asks for.

# %%
sweeps = rnnae.load("mnist_classes")
sevens = sweeps.sample(8, seed=1, label=7)
show(sevens, "sevens.png")

# %% [markdown]
# It completes digits of which any pixels are given, here their upper halves, and it knows the
# probability of an image.

# %%
config = rnnae.get_config("mnist")
digits = build.load_splits(config).test[:8]
binary = binarise_once(digits, seed=0)
given = np.zeros((28, 28), bool)
given[:14] = True
completed = sweeps.complete(binary, given, seed=1).images_NHWC
show(
    np.concatenate([np.where(given[..., None], binary, np.uint8(128)), completed]), "completed.png"
)
print("nats of eight test digits:", np.round(-sweeps.log_prob(binary), 1))

# %% [markdown]
# `mnist` is an autoencoder over the rows of grey digits.

# %%
rows = rnnae.load("mnist")
latents = rows.encode(digits)
print("latents:", latents.shape)
show(np.concatenate([digits, rows.reconstruct(digits)]), "reconstructed.png")
show(rows.interpolate(digits[0], digits[1], steps=8), "interpolated.png")

# %% [markdown]
# ## Training
#
# A config is `default()` plus its differences. Here is the config `mnist`, for 100 steps and with
# 5,000 training images only; the same call continues a run that was stopped.

# %%
config.train.max_steps = 100
config.data.train_images = 5000
metrics = rnnae.train(config, "runs/quickstart")
print(f"test MSE after 100 steps: {metrics['test/mse']:.4f}")
