"""Our Markdown: templates of cards, and words of others in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_MARKUP = re.compile(r"[\\`*\[\]<>|&!#~]")
_SYNTAX = re.compile(r"[\\`{}]")
#: Of a text; what is longer is cut.
MOST_CHARACTERS = 400


def card_templates(package: str) -> Environment:
    """The templates beside the modules of ``package``, with `cell` and `bibtex` as filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(cell=cell, bibtex=bibtex)
    return templates


def cell(text: str) -> str:
    """``text`` as words in a cell of a table: a contributor's name must not become markup."""
    return _MARKUP.sub(r"\\\g<0>", _one_line(text))


def bibtex(text: str) -> str:
    """``text`` as words in braces of a BibTeX entry, which it must not end, nor its code block."""
    return _SYNTAX.sub("", _one_line(text))


def _one_line(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain[:MOST_CHARACTERS]
