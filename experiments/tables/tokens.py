"""Tokens: pixels one by one, or larger tokens whose pixels a small head draws in turn?

The sweeps of configs/mnist_sweep.py on 8-bit digits, without a latent, over single pixels and over
tokens of 2x2 or 4x4 pixels, which a chain draws one after another (`config.model.chain`). Rows
train for as many steps as make their arithmetic equal.

Tokens of 2x2 or 4x4 pixels make the sweeps run over 4 or 16 times fewer positions. With a chain the
likelihood stays exact; without it the pixels of a token are independent. The likelihood of a pixel
is a softmax over its 256 levels or a mixture of logistics. Fourier features are more inputs of a
pixel: sines and cosines of its value.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "8-bit MNIST, 50,000 training and 10,000 test images; exact likelihood"
SEEDS = (0, 1, 2)
METRICS = {"bits/dim": "test/bits_per_dim_8bit"}
_SOFTMAX, _MIXTURE = {"likelihood.name": "softmax"}, {"likelihood.name": "logistic_mixture"}
ROWS = {
    "1x1, mixture of logistics": {**_MIXTURE, "model.patch": 1, "train.max_steps": 6000},
    "1x1, softmax": {**_SOFTMAX, "model.patch": 1, "train.max_steps": 5670},
    "2x2, independent, softmax": {**_SOFTMAX, "train.max_steps": 19_040},
    "2x2, chain, mixture of logistics": {
        **_MIXTURE,
        "model.chain": 128,
        "train.max_steps": 20_260,
    },
    "2x2, chain, softmax": {**_SOFTMAX, "model.chain": 128, "train.max_steps": 14_570},
    "2x2, chain, softmax, Fourier features": {
        **_SOFTMAX,
        "model.chain": 128,
        "likelihood.frequencies": 8,
        "train.max_steps": 13_420,
    },
    "4x4, chain, softmax": {
        **_SOFTMAX,
        "model.patch": 4,
        "model.chain": 128,
        "train.max_steps": 25_560,
    },
}
_ALL = {
    "latent.name": "none",
    "model.input_window": True,
    "data.binarise": "none",
    "data.train_on_all": False,
    "cpu_microbatch": 1,
    "eval.seeds": (0,),
}
ROWS = {label: {**_ALL, **changes} for label, changes in ROWS.items()}
CPU = {}
# 25 times fewer steps.
CPU_ROWS = {
    label: {"train.max_steps": int(changes["train.max_steps"]) // 25}
    for label, changes in ROWS.items()
}
CPU_SEEDS = (0,)
LITERATURE = {
    "S4, 8-bit": ({"bits/dim": "0.52"}, "annotated-s4"),
    "linear attention, 8-bit": ({"bits/dim": "0.644"}, "Katharopoulos et al. 2020"),
}
