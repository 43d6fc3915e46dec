"""Which methods a login must pass, in which order (as OpenSSH's ``AuthenticationMethods``).  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

METHODS: Final = ("publickey", "password", "keyboard-interactive", "gssapi-with-mic")
"""The method names of RFC 4252, RFC 4256 and RFC 4462 that can stand in a list."""


class Factors:
    """What is still to be passed: one of several lists, each from its beginning to its end.

    Without lists any one method is enough.  A method that stands first in several lists counts for all of them.
    """

    def __init__(self, lists: Iterable[Sequence[str]] = ()) -> None:
        self._left = tuple(tuple(methods) for methods in lists)
        self._has_lists = bool(self._left)

    @property
    def is_complete(self) -> bool:
        """Is nothing left to be passed?  Never before the first method has."""
        return () in self._left

    def allows(self, method: str) -> bool:
        """May `method` be tried now?"""
        return not self._has_lists or any(methods[:1] == (method,) for methods in self._left)

    def offered(self, methods: Iterable[str]) -> tuple[str, ...]:
        """Those of `methods` that may be tried now, in their order."""
        return tuple(method for method in methods if self.allows(method))

    def after(self, method: str, further: Sequence[str] = ()) -> Factors:
        """How it stands when `method`, which is allowed, has succeeded; `further` then comes on top of the lists."""
        lists = self._left if self._has_lists else ((method,),)
        left = tuple(methods[1:] if methods[:1] == (method,) else methods for methods in lists)
        if () in left:
            left = ((),)
        return Factors((*further, *methods) for methods in left)
