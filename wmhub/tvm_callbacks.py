"""Classes of ours that TVM calls back, and their errors as what they are.

TVM knows the names of few kinds of errors, to which those of wmhub are added here: whatever else
Python raises inside a callback, a ``KeyboardInterrupt`` too, comes out of TVM as a ``RuntimeError``
with its text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wmhub import tvm_compat
from wmhub.errors import WmhubError

#: What our callbacks have raised since `own_errors` began, the latest last.
_raised: list[BaseException] = []


def derived_object(cls: Any) -> Any:
    """TVM's ``derived_object`` for a class whose errors `own_errors` can tell."""
    _name_errors()
    for name in cls._tvm_metadata["methods"]:
        if name in vars(cls):
            setattr(cls, name, _noted(vars(cls)[name]))
    return tvm_compat.derived_object(cls)


@functools.cache
def _name_errors() -> None:
    """Lets wmhub's errors pass through TVM with their class and text."""
    from tvm_ffi import register_error

    kinds: list[type[WmhubError]] = [WmhubError]
    for kind in kinds:
        register_error(kind)
        kinds += kind.__subclasses__()


@contextmanager
def own_errors() -> Iterator[None]:
    """Raises what a callback of ours raised, where TVM gives its own error for it."""
    _raised.clear()
    try:
        yield
    except Exception as error:
        if _raised and str(_raised[-1]) in str(error):
            raise _raised[-1] from None
        raise
    finally:
        _raised.clear()


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def noted(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except BaseException as error:
            _raised.append(error)
            raise

    return noted
