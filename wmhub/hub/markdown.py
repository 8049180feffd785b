"""Words of others in our Markdown."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*\[\]<>|&!#~]")
_MOST_CHARACTERS = 400


def cell(text: str) -> str:
    """``text`` as words in a cell of a table: a contributor's name must not become markup."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return _MARKUP.sub(r"\\\g<0>", plain[:_MOST_CHARACTERS])
