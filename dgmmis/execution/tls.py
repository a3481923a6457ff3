"""Tls: the certificates with which a client and a cluster speak that encrypt what they say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgmmis.errors import JobError


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM format, as dask's `tls://` wants them.

    Args:
        ca_file: of the authority that signed the scheduler's certificate.
        cert: of this client, and of what it starts.
        key: private, of that certificate.
    """

    ca_file: str
    cert: str
    key: str

    def security(self) -> Any:
        """For a distributed.Client, and for a scheduler and workers that are started with it; they speak to nobody in
        the clear.

        Raises:
            JobError: a file is missing, or is not what it should be; it is named.
        """
        from distributed import Security

        for name, path in (("tls_ca_file", self.ca_file), ("tls_cert", self.cert), ("tls_key", self.key)):
            if not Path(path).is_file():
                raise JobError(f"no file '{path}' for [cluster] {name}", do="give its path, relative to the job file")
        roles = ("client", "scheduler", "worker")
        files = {
            f"tls_{role}_{what}": path for role in roles for what, path in (("cert", self.cert), ("key", self.key))
        }
        security = Security(require_encryption=True, tls_ca_file=self.ca_file, **files)
        try:
            security.get_connection_args("client")
        except (OSError, ValueError) as error:  # of ssl: it does not say which file
            raise JobError(
                f"cannot use the certificates '{self.ca_file}', '{self.cert}', '{self.key}'",
                got=error,
                do="they must be PEM files, and the key that of the certificate",
            ) from error
        return security
