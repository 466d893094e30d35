"""What a module that is switched off leaves behind; each module has a `remains` of its own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remains:
    """Something that lives, or stays.

    Attributes:
        sentence: what there is, and how it is dealt with.
        lost: the update would lose or break it, so that it has to be dealt with before.
    """

    sentence: str
    lost: bool
