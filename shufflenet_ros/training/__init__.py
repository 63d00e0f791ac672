"""Training: a recipe and a labeled set in, a run folder out, which `export` turns into a bundle."""
