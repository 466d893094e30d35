"""What a module that is switched off leaves behind; each module has a `remains` of its own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remains:
    """Something that the module leaves behind.

    Attributes:
        sentence: what there is, and how to deal with it.
        lost: the update would lose or break it, so that somebody must deal with it before.
    """

    sentence: str
    lost: bool
