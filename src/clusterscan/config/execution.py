"""Settings of the execution: how jobs run, and how files are downloaded and kept.

Nothing here changes a result, so no fingerprint holds any of it.
"""

from __future__ import annotations

from pydantic import Field

from clusterscan.config.base import Settings


class DownloadSettings(Settings):
    """How files are downloaded and kept."""

    cache: str | None = Field(
        None,
        min_length=1,
        description="folder of downloaded files, which runs may share; may begin with "
        "${CLUSTERSCAN_DATA}; null: `downloads` in output",
    )
    offline: bool = Field(
        False, description="use only what the cache holds, ask no server, and say what is missing"
    )
    connections_per_host: int = Field(
        6, ge=1, le=64, description="simultaneous connections of one job to one server"
    )
    retries: int = Field(5, ge=0, le=20, description="times a request is repeated after a fault")
    backoff_s: float = Field(
        1.0, ge=0, description="the first wait is drawn from 0 to this, each next one doubles [s]"
    )
    backoff_max_s: float = Field(60.0, ge=0, description="the longest wait drawn [s]")
    connect_s: float = Field(20.0, gt=0, description="longest wait for a connection [s]")
    stall_s: float = Field(60.0, gt=0, description="longest silence within a transfer [s]")
    deadline_s: float = Field(
        1800.0, gt=0, description="longest time for one file with all its retries [s]"
    )
    max_redirects: int = Field(5, ge=0, le=20, description="redirects followed for one request")
    max_file_bytes: int = Field(8_000_000_000, gt=0, description="larger files are refused [bytes]")
    give_up_after: int = Field(
        10, ge=1, description="files in a row that fail before a server is left alone"
    )
    absent_status: tuple[int, ...] = Field(
        (404, 410), description="HTTP statuses for `no such file` (object stores may say 403)"
    )
    contact: str = Field(
        "",
        pattern=r"^[\x20-\x7e]*$",
        description="e-mail or URL told to servers in the User-Agent",
    )


class ExecutionSettings(Settings):
    """How jobs run; nothing here changes a result."""

    workers: int = Field(1, ge=1, description="Dask worker processes of one fetch or image job")
    gpus_per_job: int = Field(0, ge=0, description="GPUs a train or scan job asks for (resource)")
    read_ahead_tiles: int = Field(
        0,
        ge=0,
        le=64,
        description="tiles that a scan job reads and normalises, each on a thread of its own, "
        "while it scans one: for GPUs, 2 to 4",
    )
    max_failed_fraction: float = Field(
        0.0, ge=0, le=1, description="a job fails where more of its tiles fail"
    )
    download: DownloadSettings = Field(
        DownloadSettings(), description="how files are downloaded and kept"
    )
