"""Plots of records: written, and refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fx2ait_core.report.record_plot import plot_record

pytest.importorskip("matplotlib")

RECORD: dict[str, Any] = {
    "model": "net",
    "precision": "fp16",
    "card": "A card",
    "rows": [
        {"batch": batch, "path": path, "ms_median": ms * batch}
        for batch in (1, 8)
        for path, ms in (("fx2ait", 1.0), ("torch_compile", 1.5), ("fx2ait_sm80", 1.2))
    ]
    + [{"batch": 16, "path": "torch_compile", "ms_median": 3.0}],
}
LAYERS: dict[str, Any] = {
    "batches": [
        {
            "batch": batch,
            "whole_us": 30.0,
            "share": 0.5,
            "layers": [
                {"node": "first", "us": 20.0, "floor_us": 5.0, "share": 0.25},
                {"node": "a " * 80, "us": 8.0, "floor_us": 10.0, "share": 1.25},
            ],
        }
        for batch in (1, 8)
    ]
}


@pytest.mark.parametrize("layers", [None, LAYERS])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_written(layers: dict[str, Any] | None, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"plot{suffix}"
    plot_record(RECORD, layers, path)
    assert path.stat().st_size > 5000


def test_it_shows_the_batch_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({"svg.fonttype": "none"}):
        plot_record(RECORD, LAYERS, path, batch=1)
    text = path.read_text()
    assert "batch 1: 50% of the roofline in 30 µs" in text
    assert "125%" in text
    assert "fx2ait_sm80" in text


def test_what_cannot_be_plotted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows of the engine"):
        plot_record({"rows": []}, None, tmp_path / "p.png")
    with pytest.raises(ValueError, match="no batches"):
        plot_record(RECORD, {}, tmp_path / "p.png")
    with pytest.raises(ValueError, match="no batch 9, but 1, 8"):
        plot_record(RECORD, LAYERS, tmp_path / "p.png", batch=9)
