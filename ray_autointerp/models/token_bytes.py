"""Tokens that hold part of a character: their bytes, and the texts of a row of them."""

import re
from collections.abc import Sequence

from transformers.convert_slow_tokenizer import bytes_to_unicode

from ray_autointerp.records.split_characters import CONTINUED

_REPLACEMENT = "\ufffd"
_FALLBACK = re.compile("<0x([0-9A-F]{2})>")
"""A byte in the vocabulary of a tokenizer that falls back to bytes."""
_BYTE_OF = {char: byte for byte, char in bytes_to_unicode().items()}
"""What stands for each byte in the vocabulary of a byte-level tokenizer."""


def part_bytes(piece: str, alone: str) -> bytes | None:
    """The bytes of a token that begins or ends within a character; None of any other.

    `piece` is how the vocabulary writes the token, `alone` is what it decodes to by itself. None
    also where neither a byte-level vocabulary nor a byte fallback tells the bytes.
    """
    if _REPLACEMENT not in alone:
        return None
    if found := _FALLBACK.fullmatch(piece):
        return bytes.fromhex(found[1])
    if any(char not in _BYTE_OF for char in piece):
        return None
    own = bytes(_BYTE_OF[char] for char in piece)
    return own if own.decode(errors="ignore").encode() != own else None


def texts_of_parts(parts: Sequence[bytes]) -> list[str]:
    """The text of each of consecutive tokens, given their bytes.

    A character is whole in the token where it begins, and each further token that has some of its
    bytes begins with a mark. A byte of no whole character is written as `<0xE4>`.
    """
    whole = b"".join(parts)
    owners = [number for number, part in enumerate(parts) for _ in part]
    texts = [""] * len(parts)
    place = 0
    while place < len(whole):
        owner, character = owners[place], _character(whole, place)
        if not character:
            texts[owner] += f"<0x{whole[place]:02X}>"
            place += 1
            continue
        texts[owner] += character
        end = place + len(character.encode())
        for other in {*owners[place:end]} - {owner}:
            texts[other] = CONTINUED
        place = end
    return texts


def _character(whole: bytes, place: int) -> str:
    """The character whose bytes begin at a place; empty if none does."""
    first = whole[place]
    size = 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)
    try:
        return whole[place : place + size].decode()
    except UnicodeDecodeError:
        return ""
