"""Data sets: from published files, or a folder of images, to the batches of a run."""
