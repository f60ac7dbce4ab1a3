"""Cells: which recurrent cell generates digits best at equal FLOP?

The recurrent variational autoencoder of configs/mnist_vae.py with each cell in rnnae/nn/cells.
Widths are chosen so that the training FLOP per image match an LSTM of width 128 (64 at `--size
cpu`) within 2 %.

Cells that are linear in their state have no recurrent matrix, and are much wider. minGRU and
minLSTM follow Feng et al. (2024), with a tanh on their candidates. Most of these cells have no
published likelihood on images.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = "MNIST with dynamic binarisation, 50,000 training and 10,000 test images; nats per image"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL (K = 128)": "test/nll_dynamic_is128",
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "MSE": "test/mse",
}
ROWS = {
    "simple": {"model.cell": "simple", "model.width": 260},
    "GRU": {"model.cell": "gru", "model.width": 150},
    "LSTM": {"model.cell": "lstm", "model.width": 128},
    "LSTM, LayerNorm": {"model.cell": "layer_norm_lstm", "model.width": 128},
    "sLSTM": {"model.cell": "slstm", "model.width": 128},
    "minGRU": {"model.cell": "min_gru", "model.width": 738},
    "minLSTM": {"model.cell": "min_lstm", "model.width": 578},
    "LRU": {"model.cell": "lru", "model.width": 1020},
    "RG-LRU": {"model.cell": "rg_lru", "model.width": 578},
}
CPU = {"train.epochs": 4, "eval.importance_samples": 0, "eval.seeds": (0,)}
CPU_ROWS = {
    "simple": {"model.width": 132},
    "GRU": {"model.width": 75},
    "LSTM": {"model.width": 64},
    "LSTM, LayerNorm": {"model.width": 64},
    "sLSTM": {"model.width": 64},
    "minGRU": {"model.width": 236},
    "minLSTM": {"model.width": 184},
    "LRU": {"model.width": 326},
    "RG-LRU": {"model.width": 184},
}
CPU_ANSWER = (
    "An LSTM with LayerNorm, with a bound of 99.81 ± 0.26 nats, then an LSTM with 101.04 ± 0.32 "
    "and a GRU with 102.66 ± 0.17; cells that are linear in their state have 104.2 to 112.4."
)
