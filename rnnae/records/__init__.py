"""What a run records and saves: metrics, checkpoints, commit and machine."""
