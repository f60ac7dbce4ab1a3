"""Data sets: published files or your own images, prepared as TFDS directories; batches."""
