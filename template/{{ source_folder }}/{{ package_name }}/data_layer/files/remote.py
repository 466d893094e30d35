"""The remote of the data tree: on S3, Google Cloud Storage, Azure or a shared disk."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from ..atomic import replacing
from ..settings import load
from .cache import FileCache
from .errors import FilesError
from .settings import FilesSettings
from .tree import DataTree, Folder

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

CACHED = "remote"

# A large file may take hours; a remote that is silent for a minute is given up.
PATIENT: "ClientConfig" = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "24h"}
RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
# The parts of a file share the bandwidth, and none may be silent for that minute.
UPLOADS_AT_ONCE = 4
# For the check that the remote answers.
BRIEF: "ClientConfig" = {"connect_timeout": "2s", "timeout": "5s"}

# The code of S3 and Google Cloud Storage, and that of Azure.
_NO_SUCH_FILE = {"NoSuchKey", "BlobNotFound"}
_ANSWER = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")


class Remote:
    """Files under `FILES_REMOTE_URL`, by their paths within the data tree.

    Credentials are found where each provider's own tools look: `AWS_ACCESS_KEY_ID`,
    `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`, the role of the
    machine. An object appears when it is complete, never in part.
    """

    def __init__(self, settings: FilesSettings, tree: DataTree) -> None:
        if settings.remote_url is None:
            raise FilesError(
                "There is no remote; set FILES_REMOTE_URL, for example to s3://bucket/prefix."
            )
        self.tree = tree
        self.cache = remote_cache(tree, settings)
        self._url = settings.remote_url.get_secret_value()
        with _sentences("the remote"):
            self._store = _store(self._url, PATIENT, RETRY)

    @classmethod
    def of_settings(cls, settings: FilesSettings | None = None) -> "Remote":
        """The remote of `FILES_REMOTE_URL`.

        Raises:
            FilesError: none is set, or it can't be used.
        """
        settings = settings or load(FilesSettings)
        return cls(settings, DataTree.of_settings(settings))

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """A local file with the content of a path, for as long as the block lasts.

        A file of the data tree itself is used as it is. Any other comes from the remote through
        the cache: fetched once, used until the remote has another version.

        Args:
            name: the path within the tree, such as `raw/yahoo_spy_1d_20200101_20231231.parquet`.

        Raises:
            FilesError: neither the tree nor the remote has it, or the remote can't be asked.
        """
        local = self.tree.path(name)
        if local.is_file():
            yield local
            return
        about = self._about(name)

        def fill(target: Path) -> None:
            self._get(name, target, about["e_tag"])

        version = about["e_tag"] or f"{about['last_modified'].isoformat()} {about['size']}"
        with self.cache.copy(name, version, about["size"], fill) as copy:
            yield copy

    def push(self, name: str) -> int:
        """Upload a file of the tree, and return its size in bytes; large ones go in parts."""
        local = self.tree.path(name)
        if not local.is_file():
            raise FilesError(f"There is no file {local} to push.")
        with _sentences(name):
            obstore.put(self._store, name, local, max_concurrency=UPLOADS_AT_ONCE)
        return local.stat().st_size

    def pull(self, name: str) -> Path:
        """Download a file into the tree itself, where the cache does not evict it."""
        target = self.tree.path(name)
        with replacing(target) as part:
            self._get(name, part)
        return target

    def answers(self) -> None:
        """Ask the remote for one page of its paths.

        Raises:
            FilesError: it does not answer, or refuses us.
        """
        with _sentences("the remote"):
            store = _store(self._url, BRIEF, {"max_retries": 1})
            next(iter(obstore.list(store, chunk_size=1)), None)

    def _about(self, name: str) -> "ObjectMeta":
        with _sentences(name):
            return obstore.head(self._store, name)

    def _get(self, name: str, target: Path, version: str | None = None) -> None:
        with _sentences(name):
            options: GetOptions = {"if_match": version} if version else {}
            stream = obstore.get(self._store, name, options=options).stream()
            with target.open("wb") as file:
                for chunk in stream:
                    file.write(chunk)


def _store(url: str, client: "ClientConfig", retry: "RetryConfig") -> "ObjectStore":
    if url.startswith("file:"):
        # Without mkdir: a shared disk that is not mounted must not be created.
        return from_url(url)
    # Our options replace those of the environment, so pass this one on.
    allow_http = any(
        os.environ.get(f"{provider}_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
        for provider in ("AWS", "GOOGLE", "AZURE")
    )
    return from_url(url, client_options={**client, "allow_http": allow_http}, retry_config=retry)


def remote_cache(tree: DataTree, settings: FilesSettings) -> FileCache:
    """Where copies of remote files are kept: `cache/remote/`, within `FILES_CACHE_SIZE`."""
    return FileCache(tree.folder(Folder.CACHE) / CACHED, settings.cache_size)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, ValueError, OSError) as error:
        # The error quotes whole requests; only what the provider says is of use.
        said = _ANSWER.search(str(error))
        # A missing bucket raises FileNotFoundError as well.
        if isinstance(error, FileNotFoundError) and (said is None or said[1] in _NO_SUCH_FILE):
            raise FilesError(f"The remote has no {name}.") from None
        words = said.groups() if said else [str(error).strip()]
        reason = ": ".join(part.partition("\n")[0] for part in words)
        # Without credentials obstore asks the cloud's metadata service for the machine's role.
        if "Missing AccessKeyId" in reason or "/latest/" in reason or "metadata" in reason:
            reason = (
                "no credentials were found; set the provider's variables, such as "
                f"AWS_ACCESS_KEY_ID, or run where the machine has a role. {reason}"
            )
        raise FilesError(f"The remote of FILES_REMOTE_URL can't give {name}: {reason}") from None
