"""Training of the weights that the engines read. Nothing of it is imported at run time."""
