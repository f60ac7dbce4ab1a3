"""Hyperparameters: their defaults, what is refused, and what a saved run keeps."""

from rnnae.config.defaults import default
from rnnae.config.resume import changes, flat, resolved
from rnnae.config.validation import MAX_SEED, check

__all__ = ["MAX_SEED", "changes", "check", "default", "flat", "resolved"]
