"""Recurrences along the rows or columns of a grid of tokens (ReNet, Visin et al. 2015)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.nn.matmul import Dense
from rnnae.nn.recurrence import Layer, zero_carries


class GridSweep(nn.Module):
    """A recurrent layer along one axis of a grid, then a dense layer: x_RQBI -> h_RQBD.

    The axis is `down` (over rows) or `across` (over columns). All lines along the axis run at the
    same time. `segment` cuts every line into segments of that many tokens, and the state restarts
    in each; with 0, a line is one segment.
    """

    cell: str
    width: int
    axis: str
    direction: str = "forward"
    segment: int = 0
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.layer = Layer(self.cell, self.width, self.direction, self.matmul_dtype)
        self.out = Dense(self.width, matmul_dtype=self.matmul_dtype)

    def __call__(self, x_RQBI: jax.Array) -> jax.Array:
        """ConfigError if `segment` does not divide the length of a line."""
        x_TLBI = x_RQBI if self.axis == "down" else x_RQBI.swapaxes(0, 1)
        tokens, lines, batch, size = x_TLBI.shape
        segment = self.segment or tokens
        if tokens % segment:
            raise ConfigError(
                f"config.model.segment={segment} does not divide the {tokens} tokens of a line"
            )
        segments = tokens // segment
        # Every segment becomes a line of its own: (segment, t, line, B) -> (t, segment, line, B).
        x_TNI = x_TLBI.reshape(segments, segment, -1, size).swapaxes(0, 1)
        x_TNI = x_TNI.reshape(segment, -1, size)
        carries = zero_carries(self.cell, self.width, x_TNI.shape[1], self.layer.cells)
        _, h_TND = self.layer(x_TNI, carries)
        h_TND = self.out(h_TND)
        h_TLBD = h_TND.reshape(segment, segments, -1, self.width).swapaxes(0, 1)
        h_TLBD = h_TLBD.reshape(tokens, lines, batch, self.width)
        return h_TLBD if self.axis == "down" else h_TLBD.swapaxes(0, 1)

    def step(self, carries: tuple, x_NI: jax.Array, position: jax.Array):
        """One token of each of N lines of a forward sweep, at index `position` of the axis:
        (carries, x_NI) -> (carries, h_ND)."""
        if self.segment:
            starts = position % self.segment == 0
            carries = jax.tree.map(lambda h: jnp.where(starts, jnp.zeros_like(h), h), carries)
        carries, h_ND = self.layer.step(carries, x_NI)
        return carries, self.out(h_ND)
