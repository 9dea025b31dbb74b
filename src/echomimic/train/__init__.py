"""Training of the weights that the engines load. The engines import nothing of it."""
