"""The key to the capital letters that end a name, one letter for each axis; and shared types.

    B  example of a batch              H W C  image height, width, channel
    N  image of a set, or device       I      value of an input token
    T  recurrent step                  O      output of a dense layer
    K  training step of one call,      G      gate pre-activation (a multiple of D)
       or importance sample            P      likelihood parameter
    D  cell width                      M      mixture component
    Z  latent width                    S      image strip, interpolation step, or seed
    R  row of a grid of tokens         Q      column of a grid of tokens
    L  line (row or column) of a grid  E      channel of a linear recurrence
    X  any leading axes                1      an axis of size one, for broadcasting

A file that uses another letter, or one of these for another axis, explains it where it is used.
So `h_TBD` outside a scan over time is `h_BD` inside it.
"""

from typing import NamedTuple

import jax


class Terms(NamedTuple):
    """The terms of the objective for each example, at one draw of its latent; unreduced, in nats.

    Where the KL has a closed form, `kl_BTZ` is that form. Its sum is then the expectation of
    -log_ratio_B under the posterior, not -log_ratio_B itself. A deterministic latent has no KL:
    `kl_BTZ` has size zero in its last axis and `log_ratio_B` is zero.
    """

    log_prob_B: jax.Array  # log p(x | z), summed over pixels and channels
    kl_BTZ: jax.Array  # KL(q(z | x) || p(z)) by step and latent dimension; the KL is its sum
    log_ratio_B: jax.Array  # log p(z) - log q(z | x) at the z that was drawn
