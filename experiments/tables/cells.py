"""Cells: which recurrence writes digits best at equal arithmetic?

The recurrent variational autoencoder of configs/mnist_vae.py with every cell of
`rnnae.cells.CELLS`, each as wide as makes its training FLOP per image those of an LSTM of width 128
(at `--size cpu`, 64) to within 2 %. Cells that are linear in their state have no product with it,
and are so much wider. As the tables of minGRU and minLSTM (Feng et al. 2024; here their candidates
have a tanh), on pixels, for which most of these have no published likelihood.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 50,000 for training; nats"
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
