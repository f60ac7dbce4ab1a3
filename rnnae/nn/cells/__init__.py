"""CELLS: one step of a recurrence.

A cell has two parts. `project` maps the input to the pre-activations of the gates. It does not
depend on the state, so it can be one matrix product for the whole sequence. `step` is the part that
must be done step after step. To add a cell, subclass `Cell` in one of the files of this folder and
add one line to `CELLS`. Every test in `cells_test.py` then runs on it.
"""

from rnnae.errors import choose
from rnnae.nn.cells.cell import Carry, Cell
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

__all__ = ["CELLS", "Carry", "Cell", "GatedCell", "Gates", "LinearCell", "cell_type"]

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
    """The cell class called `name`. An unknown name is a ConfigError that lists the choices."""
    return choose(CELLS, "config.model.cell", name)
