"""Sweep cells: which recurrent cell runs along the rows and columns best at equal FLOP?

configs/mnist_sweep.py without a latent, with each cell in rnnae/nn/cells in all of its sweeps.
Widths are chosen so that the training FLOP per image match minGRU of width 64 within 3 %.

The table `cells` asks the same of the row LSTM. Cells that are linear in their state (minGRU,
minLSTM, LRU, RG-LRU) need one matrix product for all tokens of a line, and the others one for each
token, so that equal FLOP take them several times as long.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "MNIST with dynamic binarisation, 60,000 training and 10,000 test images; exact likelihood in "
    "nats per image"
)
SEEDS = (0, 1, 2)
METRICS = {"NLL": "test/nll_dynamic"}
ROWS = {
    "minGRU": {"model.cell": "min_gru"},
    "minLSTM": {"model.cell": "min_lstm", "model.width": 58},
    "LRU": {"model.cell": "lru", "model.width": 72},
    "RG-LRU": {"model.cell": "rg_lru", "model.width": 58},
    "simple": {"model.cell": "simple"},
    "GRU": {"model.cell": "gru", "model.width": 48},
    "LSTM": {"model.cell": "lstm", "model.width": 44},
    "LSTM, LayerNorm": {"model.cell": "layer_norm_lstm", "model.width": 44},
    "sLSTM": {"model.cell": "slstm", "model.width": 44},
}
ROWS = {
    label: {"latent.name": "none", "model.input_window": True, **changes}
    for label, changes in ROWS.items()
}
CPU = {"train.max_steps": 600, "eval.seeds": (0,)}
CPU_SEEDS = (0,)
