"""`SAGAS_*`: how workers and relays take what is due."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ..settings import Settings


class SagaSettings(Settings):
    """What a worker or a relay takes, and for how long.

    Attributes:
        lease: seconds without a sign of life after which another worker takes a saga over.
        poll: seconds between two looks at what is due; what this process starts is seen at once.
        concurrency: sagas that one worker runs at a time, each on a connection of the pool.
        batch: messages that a relay takes in one transaction.
        delivery: seconds that the delivery of one message may take.
    """

    model_config = SettingsConfigDict(env_prefix="SAGAS_")

    lease: float = Field(default=30.0, ge=0.5, le=3600)
    poll: float = Field(default=1.0, gt=0, le=60)
    concurrency: int = Field(default=8, ge=1, le=100)
    batch: int = Field(default=100, ge=1, le=10_000)
    delivery: float = Field(default=10.0, gt=0, le=30)
