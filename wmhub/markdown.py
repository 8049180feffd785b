"""Words of others in our Markdown."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[\\`*\[\]<>|&!#~]")
_SYNTAX = re.compile(r"[\\`{}]")
#: Of a text; what is longer is cut.
MOST_CHARACTERS = 400


def cell(text: str) -> str:
    """``text`` as words in a cell of a table: a contributor's name must not become markup."""
    return _MARKUP.sub(r"\\\g<0>", _one_line(text))


def bibtex(text: str) -> str:
    """``text`` as words in braces of a BibTeX entry, which it must not end, nor its code block."""
    return _SYNTAX.sub("", _one_line(text))


def _one_line(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain[:MOST_CHARACTERS]
