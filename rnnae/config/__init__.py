"""Hyperparameters: defaults, choices, validation, what may change when a run continues, and the
config that a run saves.

    choices       CHOICES of every key with a closed list of values
    defaults      default(): every hyperparameter, one comment each
    validation    check(): what no run could have
    resume        what may change when a run continues
    options       options that the chosen likelihood or latent does not have
    saved_config  config.json of a run; old keys under their new names
    config_file   errors about a config file, on one line
    shipped       configs and weights that come with rnnae, by name
    reference     the text of --helpfull, read from defaults.py
"""

from rnnae.config.choices import CHOICES
from rnnae.config.defaults import default
from rnnae.config.resume import changes, flat, resolved
from rnnae.config.validation import MAX_SEED, check, check_seed, is_seed

__all__ = [
    "CHOICES",
    "MAX_SEED",
    "changes",
    "check",
    "check_seed",
    "default",
    "flat",
    "is_seed",
    "resolved",
]
