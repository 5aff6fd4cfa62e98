"""Settings of the execution: how jobs run, and how files are downloaded and kept.

Nothing here changes a result, so no fingerprint holds any of it.
"""

from __future__ import annotations

from pydantic import Field

from clusterscan.config.base import Settings


# The defaults are polite to public servers: few connections, growing waits, and a limit after which
# a server is left alone.
class DownloadSettings(Settings):
    """How files are downloaded and kept."""

    cache: str | None = Field(
        None,
        min_length=1,
        description="Folder for downloaded files, which several runs may share; may begin with "
        "${CLUSTERSCAN_DATA}. null: `downloads` in the output folder.",
    )
    offline: bool = Field(
        False,
        description="Use only files that the cache holds and contact no server; missing files are "
        "listed.",
    )
    connections_per_host: int = Field(
        6, ge=1, le=64, description="Most simultaneous connections of one job to one server."
    )
    retries: int = Field(
        5, ge=0, le=20, description="How often a request is repeated after a temporary fault."
    )
    backoff_s: float = Field(
        1.0,
        ge=0,
        description="Longest first wait before a retry; it doubles with each retry, and each wait "
        "is drawn at random below it [s].",
    )
    backoff_max_s: float = Field(60.0, ge=0, description="Longest wait between two retries [s].")
    connect_s: float = Field(20.0, gt=0, description="Time limit for opening a connection [s].")
    stall_s: float = Field(
        60.0, gt=0, description="Longest pause within a transfer before it counts as failed [s]."
    )
    deadline_s: float = Field(
        1800.0, gt=0, description="Time limit for one file with all its retries [s]."
    )
    max_redirects: int = Field(
        5, ge=0, le=20, description="Most redirects that one request follows."
    )
    max_file_bytes: int = Field(
        8_000_000_000, gt=0, description="Largest file that is accepted [bytes]."
    )
    give_up_after: int = Field(
        10,
        ge=1,
        description="Number of consecutive failed files after which a server is left alone.",
    )
    absent_status: tuple[int, ...] = Field(
        (404, 410),
        description="HTTP status codes that mean that a file does not exist; some object stores "
        "send 403.",
    )
    contact: str = Field(
        "",
        pattern=r"^[\x20-\x7e]*$",
        description="E-mail address or URL that is sent to servers in the User-Agent.",
    )


class ExecutionSettings(Settings):
    """How jobs run; nothing here changes a result."""

    workers: int = Field(
        1, ge=1, description="Number of Dask worker processes in one fetch or preprocess job."
    )
    gpus_per_job: int = Field(
        0, ge=0, description="Number of GPUs that a train or scan job requests from the scheduler."
    )
    read_ahead_tiles: int = Field(
        0,
        ge=0,
        le=64,
        description="Number of tiles that a scan job reads and normalises, on threads of their "
        "own, while it scans one; 2 to 4 suits a GPU.",
    )
    max_failed_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Fraction of a job's tiles that may fail before the job itself fails.",
    )
    download: DownloadSettings = Field(
        DownloadSettings(), description="How files are downloaded and kept."
    )
