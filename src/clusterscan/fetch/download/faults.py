"""What can go wrong with a request, and whether asking again may help.

DownloadError
├── TransientError    ask again, not before ``retry_after_s``
│   └── ContentError  what arrived is not the file: truncated, damaged, an error page
├── AbsentError       the server says that there is no such file
└── PermanentError    asking again is no use
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_MOST_WORDS = 200


class DownloadError(Exception):
    """Base of all faults; they end as a file's recorded status, never as a traceback."""


class TransientError(DownloadError):
    """Asking again may help."""

    def __init__(self, words: str, retry_after_s: float = 0.0):
        super().__init__(words)
        self.retry_after_s = retry_after_s


class ContentError(TransientError):
    """What arrived is not the file that was asked for."""


class AbsentError(DownloadError):
    """There is no such file."""


class PermanentError(DownloadError):
    """Asking again is no use."""


def fault_of(
    status: int, reason: str | None, body: bytes, retry_after: str, absent: Container[int]
) -> DownloadError:
    """Return the fault that an HTTP error status is, with the server's words."""
    words = f"HTTP {status} {reason or ''}".strip()
    if said := server_words(body):
        words += f": {said}"
    if status in absent:
        return AbsentError(words)
    if status in TRANSIENT_STATUS:
        return TransientError(words, seconds_until(retry_after))
    return PermanentError(words)


def server_words(body: bytes) -> str:
    """Return the first words of an error page, without its markup."""
    text = body.decode("utf-8", errors="replace")
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text)
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    text = "".join(c for c in text if c.isprintable())
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"


def seconds_until(retry_after: str, now: datetime | None = None) -> float:
    """Return the seconds that a Retry-After header asks for: a number or a date; else 0.

    References
    ----------
    RFC 9110, section 10.2.3.
    """
    text = retry_after.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
