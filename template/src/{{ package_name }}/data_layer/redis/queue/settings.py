"""`REDIS_QUEUE_*`: how long jobs live, how often they are tried, when a worker counts as lost."""

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from ...settings import Settings


class QueueSettings(Settings):
    """The task queue; its server is `REDIS_QUEUE_URL`.

    Attributes:
        timeout: seconds for one operation on the server.
        name: of this queue; workers take jobs of one.
        max_jobs: waiting, delayed and running jobs together; more are refused, none is dropped.
        max_job_bytes: of one job with its arguments, as JSON; a larger one is refused.
        claim_after: seconds without a sign of life after which a worker's jobs go to another one.
        max_deliveries: workers that may die over one job before it becomes a dead letter.
        concurrency: jobs that one worker runs at a time.
        shutdown_timeout: seconds that a worker which is told to stop gives its jobs to end.
        replicas: that must have a job before sending it counts as done; 0 with a single server or
            a cluster. As many as there are means that a failover loses no job that was sent.
        result_ttl: seconds that a result can be asked for.
        once_ttl: seconds during which a second job with the same idempotency key is the first one;
            not less than `result_ttl`, since the two have one result.
        max_dead_letters: kept; the oldest go first.
        retention: seconds after which a queue that nobody uses is forgotten, dead letters too.
    """

    model_config = SettingsConfigDict(env_prefix="REDIS_QUEUE_")

    timeout: float = Field(default=5.0, ge=2, le=600)
    name: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    max_jobs: int = Field(default=100_000, ge=1)
    max_job_bytes: int = Field(default=1_000_000, ge=1000, le=100_000_000)
    claim_after: float = Field(default=30.0, ge=0.2, le=86_400)
    max_deliveries: int = Field(default=3, ge=1, le=100)
    concurrency: int = Field(default=10, ge=1, le=1000)
    shutdown_timeout: float = Field(default=30.0, gt=0, le=86_400)
    replicas: int = Field(default=0, ge=0, le=10)
    result_ttl: int = Field(default=86_400, ge=1)
    once_ttl: int = Field(default=604_800, ge=1, validate_default=True)
    max_dead_letters: int = Field(default=10_000, ge=1)
    retention: int = Field(default=2_592_000, ge=3600)

    @field_validator("once_ttl")
    @classmethod
    def _check_once(cls, once_ttl: int, info: ValidationInfo) -> int:
        if once_ttl < info.data.get("result_ttl", 0):
            raise ValueError(
                "it is less than REDIS_QUEUE_RESULT_TTL, so a job whose idempotency key was "
                "forgotten would find the result of the one before"
            )
        return once_ttl
