"""What goes wrong with labelled sets, as one error class."""


class SetError(ValueError):
    """A set that cannot be used; the message names what it is, what is expected and what to do."""
