"""One torch thread: at these sizes a second one costs more than it brings, and other work runs beside."""

try:
    import torch
    torch.set_num_threads(1)
except ModuleNotFoundError:
    pass  # The tests of this room skip themselves.
