"""The key to the capital letters that end a name, one letter for each axis; and shared types.

    B  example of a batch              H W C  image height, width, channel
    N  image, device, or parallel line I      value of an input token
    T  recurrent step                  G      gate pre-activation (a multiple of D)
    K  training step of one call, row  P      likelihood parameter
       of a kernel, importance sample, M      mixture component
       or particle                     Y      class
    D  cell width                      S      image strip, interpolation step, or seed
    Z  latent width (or a chunk of it)
    X  any leading axes                1      an axis of size one, for broadcasting
    V  width of a token's latent       O      output of a dense layer
    R  row of a grid of tokens         Q      column of a grid of tokens
    L  line (row or column) of a grid  E      channel of a linear recurrence
    A  augmentation parameter          J      inputs of several tokens or parts together

A file that uses another letter, or one of these for another axis, explains it where it is used.
So `h_TBD` outside a scan over time is `h_BD` inside it.
"""

from typing import NamedTuple

import jax


class Batch(NamedTuple):
    """Images and the classes that they belong to; other axes may come before B.

    A label is the index of a class, from 0. It is -1 where the class is not known, as in TFDS.
    """

    image_BHWC: jax.Array  # uint8
    label_B: jax.Array  # int32


class Terms(NamedTuple):
    """The terms of the objective for each example, at one draw of its latent; unreduced, in nats.

    Where the KL of a step has a closed form given the steps before it, `kl_BTZ` is that form. The
    expectation of its sum over z is then the KL, as is that of -log_ratio_B. A deterministic latent
    has no KL: `kl_BTZ` has size zero in its last axis and `log_ratio_B` is zero.
    """

    log_prob_B: jax.Array  # log p(x | z), summed over pixels and channels
    kl_BTZ: jax.Array  # KL(q(z | x) || p(z)) by step and latent dimension; the KL is its sum
    log_ratio_B: jax.Array  # log p(z) - log q(z | x) at the z that was drawn
