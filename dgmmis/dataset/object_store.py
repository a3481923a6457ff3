"""An object store: S3, or one that speaks as it does. Endpoint and credentials are the environment's, as obstore reads
them (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ALLOW_HTTP ...), in every process by
itself: what is sent to a worker carries none, and no message has any.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dgmmis.errors import DgmmisError, RefusedError, StoreError, UnreachableError

if TYPE_CHECKING:
    from obstore.store import S3Store

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

CODE = re.compile(r"<Code>(\w+)</Code>")
"""Of an error, in the words of S3."""

PATIENCE = timedelta(seconds=60)
"""With a store that does not answer, or asks for time, until it is given up: some tries, further and further apart."""

TRIES = 6


def library() -> Any:
    """obstore.

    Raises:
        DgmmisError: it is not installed.
    """
    try:
        import obstore
    except ImportError as error:
        raise DgmmisError(
            "places in buckets (s3://...) are read and written with obstore, which is not installed",
            do="install it: pip install 'dgmmis[objects]'",
        ) from error
    return obstore


@lru_cache(maxsize=64)
def client(bucket: str) -> "S3Store":
    """That of a bucket in this process. Nothing is asked of the bucket yet.

    Raises:
        DgmmisError: obstore is not installed.
        RefusedError: the environment says what obstore does not understand.
    """
    library()
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        return S3Store(bucket, retry_config={"max_retries": TRIES, "retry_timeout": PATIENCE})
    except (BaseError, ValueError) as error:
        raise RefusedError(
            f"'s3://{bucket}' cannot be asked", got=_said(error), do="check the variables AWS_... of the environment"
        ) from None


@contextmanager
def asking(place: object) -> Iterator[None]:
    """Name what is asked for, in the errors of an object store; one that says that nothing is there stays as it is.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: there is no such bucket.
        UnreachableError: the store did not answer, or refused.
    """
    library()
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        if CODE.findall(str(error))[:1] == ["NoSuchBucket"]:
            raise StoreError(f"no bucket for '{place}'", do="make it, or check the URL") from None
        if isinstance(error, FileNotFoundError):
            raise
        # from None: a store repeats parts of a request that it refuses
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            raise UnreachableError(
                f"the object store refuses '{place}'",
                got=_said(error),
                do="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do there",
            ) from None
        raise UnreachableError(
            f"the object store does not give '{place}'",
            got=_said(error),
            do="check AWS_ENDPOINT_URL, AWS_REGION, the credentials and the network, and run again",
        ) from None


def _said(error: Exception) -> str:
    """Status and code, without what the server repeats of the request, nor what the environment keeps."""
    text = str(error)
    line = " ".join([text.split("\n", 1)[0].split("<", 1)[0].rstrip(": "), *CODE.findall(text)[:1]])
    for name in SECRETS:
        secret = os.environ.get(name)
        if secret:
            line = line.replace(secret, f"({name})")
    return line
