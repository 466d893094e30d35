"""The task queue, for work that may take long, or must be done even if a process dies."""

from ..errors import InvalidTask, JobTooLarge, QueueError, QueueFull, QueueUnreachable
from ..settings import QueueSettings
from .queue import DeadLetter, Job, Queue, QueueState
from .tasks import Task, schedules, task
from .worker import run_scheduler, run_worker

__all__ = [
    "DeadLetter",
    "InvalidTask",
    "Job",
    "JobTooLarge",
    "Queue",
    "QueueError",
    "QueueFull",
    "QueueSettings",
    "QueueState",
    "QueueUnreachable",
    "Task",
    "run_scheduler",
    "run_worker",
    "schedules",
    "task",
]
