"""The blocks of the sweep autoencoder: those of its encoder and of its decoder's two streams.

Letters of axes are explained in `rnnae/types.py`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.nn.matmul import Dense
from rnnae.nn.sweeps import GridSweep

# Explicit names of submodules and parameters are historical. They are the paths in saved
# checkpoints, and initial values depend on them, so they must not change.


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    patch: int
    cell: str
    width: int  # D
    blocks: int
    encoder_blocks: int
    expansion: int
    condition: str
    segment: int
    input_window: bool
    chain: int
    orders: int
    sweeps_above: str
    sweep_down: bool
    sweep_row: bool
    token_latent_width: int


def dense(block: nn.Module, features: int | None = None, **kwargs) -> Dense:
    """A dense layer with the `matmul_dtype` of the block; `features` defaults to its width."""
    features = block.options.width if features is None else features
    return Dense(features, matmul_dtype=block.matmul_dtype, **kwargs)


def _sweep(
    block: nn.Module, axis: str, direction: str = "forward", segment: int = 0, **kwargs
) -> GridSweep:
    """A sweep with the cell, the width and the `matmul_dtype` of the block."""
    cell, width = block.options.cell, block.options.width
    return GridSweep(cell, width, axis, direction, segment, block.matmul_dtype, **kwargs)


class MLPBlock(nn.Module):
    """x + MLP(LayerNorm(x)) at every position of x_XD, with one hidden GELU layer."""

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_XD: jax.Array) -> jax.Array:
        hidden = dense(self, self.options.expansion * self.options.width)(nn.LayerNorm()(x_XD))
        return x_XD + dense(self)(nn.gelu(hidden))


class ConditionedNorm(nn.Module):
    """LayerNorm of x_XBD, conditioned on condition_BZ, the latent with the class beside it.

    With `film`, the condition gives a scale and a shift of every unit (FiLM, Perez et al. 2018);
    with `add`, a shift only. A condition without dimensions changes nothing.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_XBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        x_XBD = nn.LayerNorm()(x_XBD)
        if not condition_BZ.shape[-1]:
            return x_XBD
        lead = (1,) * (x_XBD.ndim - 2)
        shift_BD = dense(self, name="shift")(condition_BZ)
        if self.options.condition == "film":
            scale_BD = dense(self, name="scale")(condition_BZ)
            x_XBD = x_XBD * (1 + scale_BD.reshape(*lead, *scale_BD.shape))
        return x_XBD + shift_BD.reshape(*lead, *shift_BD.shape)


class EncoderBlock(nn.Module):
    """A sweep along rows and one along columns, each in both directions, and an MLP. The output of
    each is added to its input."""

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_RQBD: jax.Array) -> jax.Array:
        for index, axis in enumerate(("across", "down")):
            sweep = _sweep(self, axis, "both", name=f"Sweep_{index}")
            x_RQBD = x_RQBD + sweep(nn.LayerNorm()(x_RQBD))
        return MLPBlock(self.options, self.matmul_dtype, name="Mixer_0")(x_RQBD)


class VerticalBlock(nn.Module):
    """A block of the vertical stream: a sweep across in both directions (rows above are known as a
    whole), a sweep down, and an MLP; each is added to its input.

    Its output at (r, q) depends on its inputs in the rows up to r, which hold the tokens of the
    rows above r. `sweeps_above` sets the directions of the sweep across. With none, the conditioned
    norm is added in its place, so that the latent still enters. `sweep_down` can be turned off.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        options = self.options
        self.conditioned_norm = ConditionedNorm(options, self.matmul_dtype, name="entry")
        if options.sweeps_above != "none":
            self.across = _sweep(self, "across", options.sweeps_above)
        if options.sweep_down:
            self.norm = nn.LayerNorm()
            self.down = _sweep(self, "down", segment=options.segment)
        self.mlp = MLPBlock(options, self.matmul_dtype, name="mixer")

    def __call__(self, x_RQBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        x_RQBD = self._sweep_across(x_RQBD, condition_BZ)
        if self.options.sweep_down:
            x_RQBD = x_RQBD + self.down(self.norm(x_RQBD))
        return self.mlp(x_RQBD)

    def step(self, carries, x_QBD: jax.Array, condition_BZ: jax.Array, row: jax.Array):
        """One row of tokens: (carries of the sweep down, x_QBD) -> (carries, x_QBD)."""
        x_QBD = self._sweep_across(x_QBD[None], condition_BZ)[0]
        if self.options.sweep_down:
            x_ND = self.norm(x_QBD).reshape(-1, self.options.width)
            carries, h_ND = self.down.step(carries, x_ND, row)
            x_QBD = x_QBD + h_ND.reshape(x_QBD.shape)
        return carries, self.mlp(x_QBD)

    def _sweep_across(self, x_RQBD, condition_BZ):
        h_RQBD = self.conditioned_norm(x_RQBD, condition_BZ)
        return x_RQBD + (h_RQBD if self.options.sweeps_above == "none" else self.across(h_RQBD))


class HorizontalBlock(nn.Module):
    """A block of the horizontal stream: it adds the vertical stream, a forward sweep across and an
    MLP to its input.

    Its output at (r, q) depends on its inputs in row r up to column q, which hold the tokens to the
    left of q, and on the vertical stream at (r, q). Without `sweep_row`, the conditioned norm is
    added in place of the sweep, and only the nearest token to the left is seen.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        options = self.options
        self.from_vertical = dense(self, name="above")
        self.conditioned_norm = ConditionedNorm(options, self.matmul_dtype, name="entry")
        if options.sweep_row:
            self.across = _sweep(self, "across", segment=options.segment)
        self.mlp = MLPBlock(options, self.matmul_dtype, name="mixer")

    def __call__(self, y_RQBD: jax.Array, x_RQBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        y_RQBD = y_RQBD + self.from_vertical(x_RQBD)
        h_RQBD = self.conditioned_norm(y_RQBD, condition_BZ)
        if self.options.sweep_row:
            h_RQBD = self.across(h_RQBD)
        return self.mlp(y_RQBD + h_RQBD)

    def step(
        self, carries, y_BD: jax.Array, x_BD: jax.Array, condition_BZ: jax.Array, column: jax.Array
    ):
        """One token: (carries of the sweep across, y_BD, x_BD) -> (carries, y_BD)."""
        y_BD = y_BD + self.from_vertical(x_BD)
        h_BD = self.conditioned_norm(y_BD, condition_BZ)
        if self.options.sweep_row:
            carries, h_BD = self.across.step(carries, h_BD, column)
        return carries, self.mlp(y_BD + h_BD)
