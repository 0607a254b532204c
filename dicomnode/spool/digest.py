"""What tells one data set from another: the one place that names the function.

BLAKE3: as strong as SHA-256 against whoever would make two data sets that look alike, at three
times its speed on processors that have instructions for SHA-256, ten times on those that have not.
"""

from __future__ import annotations

from blake3 import blake3

Digest = blake3


def start_digest(content: bytes = b"") -> Digest:
    """Begin a digest of 32 bytes; `update` takes more, `hexdigest` gives it."""
    return blake3(content)
