"""A lock that serves threads in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["TurnLock"]


class TurnLock:
    """A context manager; the thread that has it may take it again. A thread that gives it back and wants it again goes behind those
    that wait already, so that a long wait in pieces lets others in between (``threading.RLock`` does not promise that)."""

    def __init__(self):
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> TurnLock:
        me, ticket = threading.get_ident(), object()
        with self._changed:
            if self._owner != me:
                self._waiting.append(ticket)
                try:
                    while self._owner is not None or self._waiting[0] is not ticket:
                        self._changed.wait()
                finally:                                 # Ctrl-C too
                    self._waiting.remove(ticket)
                    self._changed.notify_all()
                self._owner = me
            self._depth += 1
        return self

    def __exit__(self, *_exception) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._changed.notify_all()
