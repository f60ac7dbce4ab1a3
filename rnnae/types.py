from typing import NamedTuple
import jax


class Terms(NamedTuple):
    log_prob_B: jax.Array
    kl_B: jax.Array
