"""Use a checkout without installing it: sources on the path, entry points written beside them.

Plugins are found by the metadata of installed distributions. Where fx2ait is not installed (a machine
that is lent for a measurement), this makes the metadata from the projects' own files.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def use_checkout() -> None:
    """Make the checkout's core, plugins and zoo importable and findable, unless they are installed."""
    if importlib.metadata.entry_points(group="fx2ait"):
        return
    folder = Path(tempfile.mkdtemp(prefix="fx2ait-checkout-"))
    plugins = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
    for project in [ROOT, *plugins, ROOT / "model_zoo"]:
        described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        name, version = described["name"], described["version"]
        metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        requirements = [f"Requires-Dist: {needed}\n" for needed in described.get("dependencies", ())]
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(requirements)
        (metadata / "METADATA").write_text(text)
        lines = []
        for group, entries in described.get("entry-points", {}).items():
            lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        sys.path.insert(0, str(project / "src"))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
