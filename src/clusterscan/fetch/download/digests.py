"""Checksums that servers send along, and pages that are no data."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from clusterscan.fetch.download.faults import ContentError

_NAMES = {"sha-512": "sha512", "sha-256": "sha256", "md5": "md5", "sha": "sha1"}
_FIELDS = ("repr-digest", "digest", "x-goog-hash")


def stated_digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the checksums of the whole file that a response states: hash name -> digest.

    Read are Repr-Digest (RFC 9530), Digest (RFC 3230), Content-MD5 and Google's x-goog-hash.
    """
    found: dict[str, bytes] = {}
    fields = [headers[name] for name in _FIELDS if name in headers]
    for name, value in re.findall(r"([\w-]+)=:?([A-Za-z0-9+/]+=*):?", ",".join(fields)):
        if name.lower() in _NAMES and (digest := _decoded(value)):
            found[_NAMES[name.lower()]] = digest
    if digest := _decoded(headers.get("content-md5", "")):
        found["md5"] = digest
    lengths = {name: hashlib.new(name, usedforsecurity=False).digest_size for name in found}
    return {name: digest for name, digest in found.items() if len(digest) == lengths[name]}


def check_digests(path: Path, stated: dict[str, bytes]) -> None:
    """Compare a file with the checksums that came with it.

    Raises
    ------
    ContentError
        If one differs.
    """
    for name, digest in stated.items():
        with path.open("rb") as handle:
            actual = hashlib.file_digest(handle, name).digest()
        if actual != digest:
            raise ContentError(f"damaged: {name} is {actual.hex()}, the server says {digest.hex()}")


def is_html(head: bytes) -> bool:
    """Whether a file begins as a web page does."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
