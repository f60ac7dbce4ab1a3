"""Cells: one step of recurrence.

A cell is two halves: `project`, what its gates read from the input, which does not depend on time
and so can be one matrix product for the whole sequence; and `step`, what must be done in order. To
add a cell: subclass `Cell` in one of the files here, add its line to `CELLS`. Every test in
`cells_test.py` then runs on it.
"""

from rnnae.errors import choose
from rnnae.nn.cells.cell import Carry, Cell, dense_2d
from rnnae.nn.cells.gated import (
    GatedCell,
    Gates,
    GRUCell,
    LayerNormLSTMCell,
    LSTMCell,
    SimpleCell,
    SLSTMCell,
)
from rnnae.nn.cells.linear import LinearCell, LRUCell, MinGRUCell, MinLSTMCell, RGLRUCell

__all__ = ["CELLS", "Carry", "Cell", "GatedCell", "Gates", "LinearCell", "cell_type", "dense_2d"]

CELLS: dict[str, type[Cell]] = {
    "simple": SimpleCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "slstm": SLSTMCell,
    "min_gru": MinGRUCell,
    "min_lstm": MinLSTMCell,
    "lru": LRUCell,
    "rg_lru": RGLRUCell,
}


def cell_type(name: str) -> type[Cell]:
    """The cell called `name`; ConfigError with the choices if there is none."""
    return choose(CELLS, "config.model.cell", name)
