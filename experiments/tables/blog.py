"""Reconstruction: what does a recurrence buy over a perceptron with the same code?

64 numbers an image, squared error, Adam to 1e-3, batch 256, as tutorials on recurrent autoencoders
have it, and the perceptron that these should be compared with; the schedule, clipping and averaged
weights are those of configs/mnist.py. DRAW's code is random; here it has no price (beta 0), and
learns to be nearly exact. 500 steps of warm-up are half of the run at `--size cpu`.
"""

CONFIG = "configs/mnist.py"
PROTOCOL = "MNIST in [0, 1], 10,000 test images, 50,000 for training"
SEEDS = (0, 1, 2)
METRICS = {"MSE": "test/mse", "MAE": "test/mae", "SSIM": "test/ssim"}
_ONE_WAY = {"model.encoder_direction": "forward", "model.decoder_direction": "forward"}
_DRAW = {
    "config": "configs/mnist_draw.py",
    "data.binarise": "none",
    "data.batch_size": 256,
    "eval.importance_samples": 0,
    "eval.seeds": (0,),
    "latent.size": 4,
    "likelihood.name": "gaussian",
    "model.learned_prior": False,
    "model.steps": 16,
    "objective.beta": 0.0,
    "optim.learning_rate": 1e-3,
    "optim.precision": "float32",
    "train.epochs": 50,
}
ROWS = {
    "MLP": {"config": "configs/mnist_mlp.py"},
    "simple": {"model.cell": "simple", **_ONE_WAY},
    "GRU": {"model.cell": "gru", **_ONE_WAY},
    "LSTM": _ONE_WAY,
    "LSTM, both ways": {},
    "LSTM, both ways, 2 layers": {"model.layers": 2},
    "DRAW, 16 glimpses of 4 numbers": _DRAW,
}
CPU = {"train.epochs": 5}
CPU_ROWS = {"DRAW, 16 glimpses of 4 numbers": {"train.epochs": 5}}
