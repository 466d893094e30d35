"""The deep tests of the data layer: a folder for each part of it, and one for each module.

They run inside of an installed project, as its `tests/layer`; `python -m tests.deep` puts them
there.
"""

from importlib.util import find_spec

from my_project import data_layer

# Seconds that only what is dead takes, however busy the machine is.
PATIENCE = 300.0


def has(module: str) -> bool:
    """Whether the project that these tests run in has the module of that name."""
    return find_spec(f"{data_layer.__name__}.{module}") is not None
