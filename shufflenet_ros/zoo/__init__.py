"""PyTorch: the networks, their training and their export. The only room that imports torch."""
