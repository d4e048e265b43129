"""The plugins of this installation, with the core's own targets, as the commands see them."""

from __future__ import annotations

from .. import builtin
from ..extend.manager import PluginSet, load_plugins
from ..settings import Settings


def installed_plugins(settings: Settings) -> PluginSet:
    """Rows and registry; a plugin that fails is a row. Does not import torch."""
    return load_plugins(settings, [builtin])
