"""The choices of every config key that has a closed list of them.

Choices that are classes or functions (cells, scan orders, likelihoods, latents, models, data sets)
are the keys of the dict that holds them. `DICTS` says where these dicts are, so that `--helpfull`
can list the choices without importing jax.
"""

DIRECTIONS = ("forward", "backward", "both")

CHOICES: dict[str, tuple[str, ...]] = {
    "data.binarise": ("none", "dynamic"),
    "model.connections": ("residual", "skip", "none"),
    "model.encoder_direction": DIRECTIONS,
    "model.decoder_direction": DIRECTIONS,
    "model.readout": ("last", "all"),
    "model.latent_input": ("initial_state", "every_step", "both"),
    "model.condition": ("film", "add"),
    "model.sweeps_above": (*DIRECTIONS, "none"),
    "latent.posterior": ("diagonal", "autoregressive"),
    "optim.name": ("adam", "muon"),
    "optim.matmul_precision": ("float32", "bfloat16"),
    "optim.schedule": ("constant", "warmup_cosine", "warmup_linear"),
    "eval.splits": ("train", "valid", "test"),
    "eval.checkpoint": ("latest", "best"),
}

# key -> (file below rnnae/, name of the dict whose keys are the choices)
DICTS: dict[str, tuple[str, str]] = {
    "data.augment": ("data/augmentation.py", "AUGMENTATIONS"),
    "data.name": ("data/datasets.py", "DATASETS"),
    "model.cell": ("nn/cells/__init__.py", "CELLS"),
    "model.order": ("scan_order.py", "ORDERS"),
    "latent.name": ("latents/__init__.py", "LATENTS"),
    "likelihood.name": ("likelihoods/__init__.py", "LIKELIHOODS"),
}
