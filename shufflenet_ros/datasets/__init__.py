"""Labeled images behind one face: folders, tars and labeled bags; and a model's answers on them."""
