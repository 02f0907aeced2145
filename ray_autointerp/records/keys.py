"""Keys and seeds: how windows, latents, SAEs and files are named, and where randomness comes from.

A seed derives from what it is for (run seed, latent, purpose), never from a worker, a batch or
an order of execution, so that any shard may be done again anywhere with the same result.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

WINDOWS_PER_TOKEN_SHARD = 10_000_000
"""Window ids are `token shard * this + index in the shard`: readable, and unique in a run."""

SPLITS = ("explain", "score")
"""The sides of the document split: evidence comes from the first, scores from the second."""

_SLUG_SAFE = re.compile(r"[A-Za-z0-9._-]")


def window_id(token_shard: int, index: int) -> int:
    """The run-wide id of the `index`-th window of a token shard."""
    assert 0 <= index < WINDOWS_PER_TOKEN_SHARD
    return token_shard * WINDOWS_PER_TOKEN_SHARD + index


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the parts' values, their types and their order."""
    text = "\x1f".join(repr(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def hash_order(latents: Iterable[int], *seed: str | int) -> list[int]:
    """The latents in an order that depends only on (seed, latent), never on who else is there."""
    return sorted(latents, key=lambda latent: (derive_seed(*seed, latent), latent))


def files_digest(files: Iterable[Path], *, first: str = "") -> str:
    """sha256 over the contents of files in their order, behind the text `first`: 16 digits."""
    content = hashlib.sha256(first.encode())
    for file in files:
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:16]


def slug(name: str) -> str:
    """A file name that stands for `name`, one to one; `unslug` gives the name back.

    Letters, digits, `.`, `_` and `-` stay; every other byte becomes `=XX`. A name that begins
    with a dot has that dot encoded, so that no slug is hidden or leaves its folder.
    """
    safe = "".join(
        char if _SLUG_SAFE.fullmatch(char) else "".join(f"={b:02X}" for b in char.encode())
        for char in name
    )
    return f"=2E{safe[1:]}" if safe.startswith(".") else safe


def unslug(text: str) -> str:
    """The name that `slug` was given."""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())
    return raw.decode()
