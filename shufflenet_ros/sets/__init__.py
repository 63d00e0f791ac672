"""Labelled pictures behind one face: folders, tars and labelled bags; and a model's answers on them."""
