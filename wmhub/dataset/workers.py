"""Work on many items in processes of their own, in the order of the items."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from wmhub.children import safely_started
from wmhub.errors import WmhubError

_Kept = TypeVar("_Kept")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[..., _Result],
    items: Iterable[tuple[_Kept, tuple[Any, ...]]],
    workers: int,
    died: str,
) -> Iterator[tuple[_Kept, _Result]]:
    """``work(*arguments)`` for each item ``(kept, arguments)``: yields ``(kept, result)``.

    In the order of the items, so that what is made of them is the same for any number of
    ``workers``; few of them wait in memory. One worker is this process. Raises ``WmhubError(died)``
    where a worker is lost.
    """
    if workers == 1:
        for kept, arguments in items:
            yield kept, work(*arguments)
        return
    # Not fork: the threads of pyarrow and torch do not survive it.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C is for this process, which tells the workers.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with safely_started():
        pool = ProcessPoolExecutor(workers, context, signal.signal, ignore)
    with pool:
        pending: deque[tuple[_Kept, Future[_Result]]] = deque()
        try:
            for kept, arguments in items:
                # It starts them when it is given work.
                with safely_started():
                    pending.append((kept, pool.submit(work, *arguments)))
                if len(pending) > workers + 1:
                    first, future = pending.popleft()
                    yield first, future.result()
            for last, future in pending:
                yield last, future.result()
        except BrokenProcessPool:
            raise WmhubError(died) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
