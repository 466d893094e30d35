"""`HTTP_*`: what the API takes from a client."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ..settings import Settings


class HttpSettings(Settings):
    """Limits of the HTTP API.

    Attributes:
        max_body_size: bytes of a request's body; a larger one is answered with 413.
    """

    model_config = SettingsConfigDict(env_prefix="HTTP_")

    max_body_size: int = Field(default=1_048_576, ge=0)
