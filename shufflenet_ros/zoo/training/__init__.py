"""Training: a recipe and a labelled set in, a run folder out, which `export` turns into a bundle."""
