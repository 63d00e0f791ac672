"""What goes wrong with bags, as one error class."""


class BagError(ValueError):
    """A bag or a message in it that cannot be read or written; the message says which, why and what to do."""
