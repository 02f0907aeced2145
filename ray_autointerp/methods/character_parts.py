"""What to call a token that has a part of a character and stands alone, as in lists of tokens."""

import re
from functools import cache

_BYTES = re.compile("(?:<0x[0-9A-F]{2}>)+")
_REPLACEMENT = "\ufffd"


@cache
def part_of_a_character(text: str) -> str | None:
    """The characters that begin with the bytes of such a token where one byte is missing, else its
    bytes; None for other tokens. Bytes are written as `<0xE4>`.
    """
    if _BYTES.fullmatch(text) is None:
        return "part of a character" if _REPLACEMENT in text else None
    own = bytes.fromhex(text.replace("<0x", "").replace(">", ""))
    family = [
        character
        for last in range(0x80, 0xC0)
        if (character := (own + bytes([last])).decode(errors="ignore")).isprintable()
        and len(character.encode()) == len(own) + 1
    ]
    family = [character for character in family if character.isalnum()] or family
    if len(family) > 1:
        return f'part of a character from "{family[0]}" to "{family[-1]}"'
    spelt = " ".join(f"{byte:02X}" for byte in own)
    return f"part of a character (byte{'s' * (len(own) > 1)} {spelt})"
