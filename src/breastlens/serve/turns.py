"""Whose turn it is: a queue in which clients take turns, so that who has much waiting holds nobody else up."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, for any number of threads: each client's own in order of arrival, clients one after the other.

    A client that comes when others wait is behind one thing of each of them, however many they have. It has no limit of
    its own: what may wait at all is the gate's to say.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[T]] = {}  # the client whose turn it is first
        self._ended = False

    def put(self, client: str, one: T) -> None:
        """Let something wait.

        Args:
            client: Whose it is.
            one: What.
        """
        with self._changed:
            self._waiting.setdefault(client, deque()).append(one)
            self._changed.notify()

    def take(self, most: int = 1) -> list[T]:
        """Wait until there is something, and take it.

        Args:
            most: How much to take at once, where as much waits.

        Returns:
            One thing at least; nothing once all is taken and the queue has ended.
        """
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            taken: list[T] = []
            while self._waiting and len(taken) < most:
                client = next(iter(self._waiting))
                own = self._waiting.pop(client)
                taken.append(own.popleft())
                if own:
                    self._waiting[client] = own  # behind all others
            return taken

    def end(self) -> None:
        """Let nobody wait any longer, once all that is there is taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
