"""The root of the errors that this layer raises for a person to read."""


class DataLayerError(Exception):
    """An error whose message is a full sentence: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with 2.
    """
