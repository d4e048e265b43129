"""Every error that a user may see, one class per kind of fault.

The command line turns any :class:`Fx2aitError` into one message and exit code 2;
everything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class Fx2aitError(Exception):
    """Base of all errors raised on purpose; its text says what, where and what to do."""


class Fx2aitWarning(RuntimeWarning):
    """What a user should know though the work goes on; its text says what to do."""


class SettingsError(Fx2aitError):
    """A setting or environment variable holds a value that is not accepted."""


class IRError(Fx2aitError):
    """A graph breaks a rule of the IR; raised by the verifier and by shape inference."""


class CaptureError(Fx2aitError):
    """``torch.export`` could not turn the model into a graph."""


class UnsupportedNodesError(Fx2aitError):
    """Some nodes have no converter; the text lists all of them with the reasons given."""


class ConversionError(Fx2aitError):
    """A converter accepted a node and then failed on it, or made something else of it."""


class PluginError(Fx2aitError):
    """A plugin is missing, broken, or in conflict with another one."""


class TargetError(Fx2aitError):
    """The target does not exist, or this machine cannot serve it."""


class KernelError(Fx2aitError):
    """No kernel of any plugin serves an operator on the target; lists who declined and why."""


class PlanError(Fx2aitError):
    """Memory or launch order could not be planned."""


class ToolchainError(Fx2aitError):
    """No usable compiler; the text names the command that brings one."""


class BuildError(Fx2aitError):
    """The compiler or the build tool failed; holds its words, the command and the source's path."""


class ArtifactError(Fx2aitError):
    """An engine file is truncated, altered, of a newer format or made for another machine."""


class EngineError(Fx2aitError):
    """The engine's library reported a failure while it ran."""


class EngineInputError(Fx2aitError):
    """An input has the wrong name, shape, dtype, device or layout; nothing was launched."""


class RecipeError(Fx2aitError):
    """A recipe cannot be read or names something that cannot be used."""


class VerificationError(Fx2aitError):
    """An engine's answers differ from the model's by more than the limits allow."""


class MissingDependencyError(Fx2aitError):
    """An optional package is needed; the text names the command that installs it."""


class Decline(Exception):
    """Says "not this one" with a reason; returned by predicates, never shown as a crash.

    >>> str(Decline("groups=3 does not divide 64 channels"))
    'groups=3 does not divide 64 channels'
    """

    @property
    def reason(self) -> str:
        return str(self)
