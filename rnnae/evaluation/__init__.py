"""What is done with trained weights: reported numbers, figures, a run as an object."""
