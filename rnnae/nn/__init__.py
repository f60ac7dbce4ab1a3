"""Recurrence: matmuls, cells, scans over time, stacks of layers, sweeps over a grid."""
