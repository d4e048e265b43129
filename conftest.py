"""What all tests share: GPU tests are skipped where no GPU can be used; no example has a deadline; processes
that tests start can be interrupted."""

from __future__ import annotations

import shutil
import signal

import hypothesis
import pytest

# An example that is slow on a busy machine is not a failure.
hypothesis.settings.register_profile("fx2ait", deadline=None)
hypothesis.settings.load_profile("fx2ait")

# A suite that a shell started in the background ignores interrupts, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs_gpu = [item for item in items if item.get_closest_marker("cuda")]
    if needs_gpu:
        import torch  # noqa: PLC0415  (only where it matters)

        if not torch.cuda.is_available():
            for item in needs_gpu:
                item.add_marker(pytest.mark.skip(reason="no usable GPU"))
    for item in items:
        if item.get_closest_marker("nvcc") and shutil.which("nvcc") is None:
            item.add_marker(pytest.mark.skip(reason="no nvcc"))
