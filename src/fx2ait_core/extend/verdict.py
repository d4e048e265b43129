"""Asking the predicates of plugins, whose faults are reported by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import Decline, PluginError


def verdict(supports: Callable[[Any], Decline | None], subject: Any, owner: str) -> Decline | None:
    """What a support predicate says of a call or a problem; a raised :class:`Decline` counts too.

    :param owner: the record and its distribution, for the error.

    Raises :class:`PluginError` when the predicate fails, or answers anything but None or a ``Decline``.
    """
    try:
        answer = supports(subject)
    except Decline as raised:
        return raised
    except Exception as error:
        raise PluginError(f"{owner}: its predicate failed: {type(error).__name__}: {error}") from error
    if answer is None or isinstance(answer, Decline):
        return answer
    raise PluginError(f"{owner}: its predicate answered {answer!r}; return None or Decline(reason)")
