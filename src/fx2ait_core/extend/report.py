"""What became of each plugin: a row each, and the text that says how to get some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "blocked", "failed", "conflict"]

FIRST_PARTY = ("conv", "batch_norm", "activation", "pooling", "linear", "elementwise")

INSTALL_HINT = (
    "No plugin is installed, so no operator can be compiled. Install the first-party set with\n"
    "    pip install -r requirements.txt\n"
    "in a checkout of fx2ait, or one by one: pip install "
    + " ".join([*(f"./plugins/{name}" for name in FIRST_PARTY), "./model_zoo"])
)

RECIPES_HINT = (
    "No installed plugin brings recipes. Install the first-party plugins and the model zoo with\n"
    "    pip install -r requirements.txt\n"
    "in a checkout of fx2ait, or give the path of a .yaml file."
)


@dataclass(frozen=True)
class PluginRow:
    """One plugin: ``name`` is that of its entry point, ``reference`` what that imports.

    ``status``: ``ok``; ``blocked`` by a setting; ``failed`` (nothing of it is used); or
    ``conflict``: it shares a name with another plugin, and ``cause`` says what that means.
    ``contributions`` counts its records by kind; ``import_seconds`` includes its hooks.
    """

    name: str
    distribution: str
    version: str
    reference: str
    status: Status
    cause: str = ""
    contributions: Mapping[str, int] = field(default_factory=dict)
    import_seconds: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.distribution}[{self.name}] {self.version}"

    def __str__(self) -> str:
        text = f"{self.label}: {self.status}"
        return f"{text}: {self.cause}" if self.cause else text

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {**asdict(self), "contributions": dict(self.contributions)}


def describe_problems(rows: Iterable[PluginRow]) -> str:
    """One line per plugin that is not, or not wholly, in use; empty when all are."""
    return "\n".join(str(row) for row in rows if row.status != "ok")
