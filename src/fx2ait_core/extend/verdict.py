"""Asking plugins whose faults must not take others down."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..errors import Decline, Fx2aitWarning


def verdict(supports: Callable[[Any], Decline | None], subject: Any, owner: str) -> Decline | None:
    """What a support predicate says of a call or a problem; a raised :class:`Decline` counts too.

    A predicate that fails, or answers anything but None or a ``Decline``, declines; a warning tells.

    :param owner: the record and its distribution, for the warning.
    """
    try:
        answer = supports(subject)
    except Decline as raised:
        return raised
    except Exception as error:
        return faulty(owner, f"its predicate failed: {type(error).__name__}: {error}")
    if answer is None or isinstance(answer, Decline):
        return answer
    return faulty(owner, f"its predicate answered {answer!r}; return None or Decline(reason)")


def faulty(owner: str, fault: str) -> Decline:
    """The decline that stands for a plugin's fault; the user is warned of it."""
    warnings.warn(f"{owner} is passed over: {fault}", Fx2aitWarning, stacklevel=3)
    return Decline(fault)
