"""The console script. It imports almost nothing, so that Ctrl-C is answered from the first moment."""

from __future__ import annotations

import os
import signal
from typing import Any

EXIT_INTERRUPTED = 130


def main() -> None:
    """Entry point of ``fx2ait``.

    Until a command starts nothing has been written, so that Ctrl-C may end the process at once. An
    exception would not do: raised inside an import it shows as a traceback, or as a package that is broken.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where the caller has it ignored
        signal.signal(signal.SIGINT, _leave)
    from .app import main as run  # noqa: PLC0415

    run(ready=lambda: signal.signal(signal.SIGINT, before))


def _leave(*_: Any) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(EXIT_INTERRUPTED)
