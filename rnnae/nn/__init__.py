"""Building blocks: dense layers, recurrent cells, recurrences over time, sweeps over a grid."""
