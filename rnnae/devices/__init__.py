"""Processes, signals, devices: everything that depends on where a run is executed."""
