"""The application: commands of the core, then those that plugins bring."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import Fx2aitError, PluginError
from ..extend.registry import Contribution
from ..settings import Settings
from .benchmark import benchmark
from .command import EXIT_ERROR
from .compile import compile
from .doctor import doctor
from .entry import EXIT_INTERRUPTED
from .inspect import inspect
from .installed import installed_plugins
from .output import complain, warn
from .plugins import plugins
from .recipes import recipes
from .run import run
from .verify import verify

COMMANDS = {
    "run": run,
    "compile": compile,
    "verify": verify,
    "benchmark": benchmark,
    "recipes": recipes,
    "plugins": plugins,
    "inspect": inspect,
    "doctor": doctor,
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fx2ait {importlib.metadata.version('fx2ait-core')}")
        raise typer.Exit()


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """PyTorch models to ahead-of-time compiled engines for CUDA and CPU.

    Start with `fx2ait doctor`, then `fx2ait run resnet18`.
    """


def application(settings: Settings) -> typer.Typer:
    """The application with the commands of all plugins that ``settings`` allow. A plugin's command that
    has a core command's name is left out, with a message."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)
    app.callback()(_root)
    for name, function in COMMANDS.items():
        app.command(name)(function)
    for group in _plugin_commands(settings):
        if group.value.info.name in COMMANDS:
            name = group.value.info.name
            complain(f"{group.distribution}: its command {name} is left out, because the core has one")
        else:
            app.add_typer(group.value)
    return app


def _plugin_commands(settings: Settings) -> list[Contribution[Any]]:
    try:
        return installed_plugins(settings).registry.commands
    except PluginError as error:  # two plugins bring the same command: the core's must still work
        complain(str(error))
        return []


def main(ready: Callable[[], object] = lambda: None) -> None:
    """Load the plugins, call ``ready``, and run the command that the arguments name."""
    warnings.showwarning = warn
    try:
        app = application(Settings.from_environment())
    except Fx2aitError as error:
        complain(str(error))
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    ready()
    app()
