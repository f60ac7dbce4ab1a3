"""The key to the capital letters that end a name, one an axis; and the type that crosses files.

    B  example of a batch              H W C  image height, width, channel
    N  image of a set, or device       I      value of an input token
    T  recurrent step                  G      gate pre-activation (a multiple of D)
    K  training step of one call       P      likelihood parameter
    D  cell width                      M      mixture component
    Z  latent width                    S      strip or step of an interpolation
    X  any leading axes                1      an axis of size one, for broadcasting
    R  row of a grid of tokens         Q      column of a grid of tokens
    L  line (row or column) of a grid  E      number of a linear recurrence

So `h_TBD` outside a scan is `h_BD` inside it.
"""

from typing import NamedTuple

import jax


class Terms(NamedTuple):
    """What a model says of each example and one draw of its code, unreduced, in nats.

    The KL is in closed form where there is one, so its sum is not -log_ratio_B but the expectation
    of it. A deterministic code has neither: no dimensions, and zero.
    """

    log_prob_B: jax.Array  # log p(x | z), summed over pixels and channels
    kl_BTZ: jax.Array  # KL(q(z | x) || p(z)) by step and dimension of the code; summed, the KL
    log_ratio_B: jax.Array  # log p(z) - log q(z | x) at the z that was drawn
