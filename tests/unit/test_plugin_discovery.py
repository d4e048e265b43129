"""Finding, loading and reporting plugins: fake distributions with every fault, none takes others down."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fx2ait_core.errors import Fx2aitWarning, PluginError
from fx2ait_core.extend.discovery import find_plugins
from fx2ait_core.extend.manager import PluginSet, load_plugins
from fx2ait_core.extend.report import INSTALL_HINT, PluginRow
from fx2ait_core.settings import Settings

RELU = """
from fx2ait_core.sdk import Converter, PointwiseExpression, hookimpl, pointwise_operator

Op = pointwise_operator("{kind}")

@hookimpl
def fx2ait_contract():
    return 1

@hookimpl
def fx2ait_operators():
    return [Op]

@hookimpl
def fx2ait_converters():
    return [Converter("{overload}", lambda call: call.emit(Op, [call["self"]]), priority={priority})]

@hookimpl
def fx2ait_expressions():
    return [PointwiseExpression(Op, "{{0}}")]
"""


def good(kind: str = "good.op", overload: str = "aten.good.default", priority: int = 0) -> str:
    return RELU.format(kind=kind, overload=overload, priority=priority)


class Site:
    """A folder on ``sys.path`` into which distributions are installed by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, distribution: str, source: str, entry: str = "", version: str = "1.0", requires: str = ""
    ) -> None:
        module = distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}"
        )
        (info / "entry_points.txt").write_text(f"[fx2ait]\n{entry or module} = {module}\n")

    def load(self, *disabled: str) -> PluginSet:
        return load_plugins(Settings(disabled_plugins=disabled), path=[str(self.folder)])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def row(plugins: PluginSet, distribution: str) -> PluginRow:
    return next(row for row in plugins.rows if row.distribution == distribution)


def test_a_good_plugin_is_listed_with_what_it_brings(site: Site) -> None:
    site.install("nice-plugin", good(), entry="nice", version="2.3")
    plugins = site.load()
    found = row(plugins, "nice-plugin")
    assert (found.name, found.version, found.status, found.cause) == ("nice", "2.3", "ok", "")
    assert found.contributions == {"operators": 1, "converters": 1, "expressions": 1}
    assert found.import_seconds > 0
    (converter,) = plugins.registry.converters("aten.good.default")
    assert converter.distribution == "nice-plugin 2.3"
    assert plugins.registry.expression("good.op", "cuda").expression == "{0}"  # type: ignore[union-attr]
    assert plugins.versions == (("nice-plugin", "2.3"),)
    assert plugins.install_hint == ""


def test_nothing_installed_tells_how_to_install(site: Site) -> None:
    plugins = site.load()
    assert plugins.rows == ()
    assert "pip install -r requirements.txt" in plugins.install_hint == INSTALL_HINT


def test_what_plugins_print_stays_off_standard_output(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    chatty = good().replace("return [Op]", "print('from a hook'); return [Op]") + "\nprint('on import')\n"
    site.install("chatty", chatty)
    assert row(site.load(), "chatty").status == "ok"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["on import", "from a hook"]


def test_a_missing_module_is_not_blamed_on_a_line_of_pythons_own(site: Site) -> None:
    site.install("emptied", good())
    (site.folder / "emptied.py").unlink()
    assert row(site.load(), "emptied").cause.endswith("ModuleNotFoundError: No module named 'emptied'")


def test_finding_imports_nothing_and_is_sorted(site: Site) -> None:
    site.install("zeta", "raise SystemExit('imported')")
    site.install("alpha", "raise SystemExit('imported')")
    assert [plugin.distribution for plugin in find_plugins([str(site.folder)])] == ["alpha", "zeta"]


FAULTS = {
    "failing import": ("import no_such_module_at_all", ["ModuleNotFoundError", "no_such_module_at_all"]),
    "exit at import": ("raise SystemExit(3)", ["import of faulty failed", "SystemExit"]),
    "syntax error": ("def broken(:", ["SyntaxError"]),
    "misspelled hook": (
        good() + "\n@hookimpl\ndef fx2ait_convertors():\n    return []\n",
        ["fx2ait_convertors is no hook", "did you mean fx2ait_converters?"],
    ),
    "misspelled hook without decorator": (
        good() + "\ndef fx2ait_kernel():\n    return []\n",
        ["fx2ait_kernel is no hook", "did you mean fx2ait_kernels?"],
    ),
    "forgotten decorator": (
        good() + "\ndef fx2ait_kernels():\n    return []\n",
        ["fx2ait_kernels lacks the decorator @hookimpl"],
    ),
    "hook with an unknown argument": (
        good() + "\n@hookimpl\ndef fx2ait_kernels(target):\n    return []\n",
        ["invalid hook", "fx2ait_kernels", "target"],
    ),
    "no hooks": ("answer = 42", ["implements none of the hooks", "fx2ait_converters"]),
    "newer contract": (
        good().replace("return 1\n", "return 99\n", 1),
        ["written for version 99", "speaks version 1"],
    ),
    "raising hook": (
        good() + "\n@hookimpl\ndef fx2ait_kernels():\n    raise ZeroDivisionError('inside')\n",
        ["fx2ait_kernels raised ZeroDivisionError: inside", "faulty.py:"],
    ),
    "hook returning None": (
        good() + "\n@hookimpl\ndef fx2ait_kernels():\n    pass\n",
        ["fx2ait_kernels returned NoneType, not a list of Kernel records"],
    ),
    "hook returning foreign records": (
        good() + "\n@hookimpl\ndef fx2ait_passes():\n    return ['fold']\n",
        ["fx2ait_passes returned 'fold' in its list; it takes Pass records"],
    ),
    "expression of an operator that is not pointwise": (
        good().replace("PointwiseExpression(Op,", "PointwiseExpression(int,"),
        ["fx2ait_expressions returned", "PointwiseOperator"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_row_and_takes_nothing_else_down(site: Site, fault: str) -> None:
    source, words = FAULTS[fault]
    site.install("faulty", source, version="0.7")
    site.install("other", good())
    plugins = site.load()
    found = row(plugins, "faulty")
    assert found.status == "failed"
    assert found.version == "0.7"
    for word in words:
        assert word in found.cause
    assert not found.contributions
    assert row(plugins, "other").status == "ok"
    (converter,) = plugins.registry.converters("aten.good.default")
    assert converter.distribution == "other 1.0"
    assert "faulty[faulty] 0.7: failed" in plugins.install_hint


def test_a_plugin_for_another_core_is_not_imported(site: Site) -> None:
    site.install("future", "raise SystemExit('imported')", requires="fx2ait-core>=7,<8")
    found = row(site.load(), "future")
    assert found.status == "failed"
    assert "needs fx2ait-core<8,>=7" in found.cause


@pytest.mark.parametrize("name", ["nice", "nice-plugin", "Nice_Plugin"])
def test_blocked_by_entry_or_distribution(site: Site, name: str) -> None:
    site.install("nice-plugin", "raise SystemExit('imported')", entry="nice")
    site.install("other", good())
    plugins = site.load(name)
    assert row(plugins, "nice-plugin").status == "blocked"
    assert row(plugins, "other").status == "ok"
    assert "nice-plugin[nice] 1.0: blocked: named in FX2AIT_DISABLE_PLUGINS" in plugins.install_hint
    assert "other" not in plugins.install_hint


def test_a_name_that_blocks_nothing_is_told(site: Site) -> None:
    site.install("nice-plugin", good(), entry="nice")
    with pytest.warns(Fx2aitWarning, match=r"no plugin is called 'nise'.* did you mean 'nice'\?"):
        assert row(site.load("nise"), "nice-plugin").status == "ok"


def test_a_disabled_kernel_is_left_out_and_a_misspelled_one_is_told() -> None:
    kernels = load_plugins(Settings()).registry.kernels("conv.conv2d", "cuda")
    without = load_plugins(Settings(disabled_kernels=("conv2d_halo",))).registry.kernels(
        "conv.conv2d", "cuda"
    )
    assert [c.value.name for c in kernels if c not in without] == ["conv2d_halo"]
    with pytest.raises(PluginError, match="did you mean 'conv2d_halo'"):
        load_plugins(Settings(disabled_kernels=("conv2d_hallo",)))


def test_two_distributions_of_one_entry_name_are_both_named(site: Site) -> None:
    site.install("first-dist", good("a.op", "aten.a.default"), entry="same")
    site.install("second-dist", good("b.op", "aten.b.default"), entry="same", version="2.0")
    site.install("other", good())
    plugins = site.load()
    for name in ("first-dist", "second-dist"):
        found = row(plugins, name)
        assert found.status == "conflict"
        assert "first-dist 1.0 and second-dist 2.0" in found.cause
        assert "FX2AIT_DISABLE_PLUGINS" in found.cause
    assert row(plugins, "other").status == "ok"
    assert plugins.registry.converters("aten.a.default") == []

    chosen = site.load("second-dist")
    assert row(chosen, "first-dist").status == "ok"
    assert len(chosen.registry.converters("aten.a.default")) == 1


def test_a_distribution_found_twice_on_the_path_counts_once(site: Site) -> None:
    site.install("nice-plugin", good(), version="1.0")
    info = site.folder / "nice_plugin-1.0.dist-info"
    second = site.folder / "second"
    (second / "nice_plugin-1.0.dist-info").mkdir(parents=True)
    for file in info.iterdir():
        (second / "nice_plugin-1.0.dist-info" / file.name).write_text(file.read_text())
    plugins = load_plugins(Settings(), path=[str(site.folder), str(second)])
    assert [found.status for found in plugins.rows] == ["ok"]


def test_tied_converters_name_both_when_used(site: Site) -> None:
    site.install("first", good("a.op", "aten.x.default"))
    site.install("second", good("b.op", "aten.x.default"))
    site.install("other", good())
    plugins = site.load()
    assert [found.status for found in plugins.rows] == ["conflict", "ok", "conflict"]
    with pytest.raises(
        PluginError, match=r"aten\.x\.default is contributed by first 1\.0 and by second 1\.0"
    ):
        plugins.registry.converters("aten.x.default")
    assert len(plugins.registry.converters("aten.good.default")) == 1
    assert plugins.registry.operator("a.op") is not None
    assert "higher priority" in row(plugins, "first").cause


def test_priority_decides(site: Site) -> None:
    site.install("first", good("a.op", "aten.x.default", priority=-1))
    site.install("second", good("b.op", "aten.x.default", priority=5))
    plugins = site.load()
    assert [found.status for found in plugins.rows] == ["ok", "ok"]
    best, other = plugins.registry.converters("aten.x.default")
    assert (best.distribution, other.distribution) == ("second 1.0", "first 1.0")


def test_one_kind_from_two_plugins_raises_when_asked_for(site: Site) -> None:
    site.install("first", good("same.op", "aten.a.default"))
    site.install("second", good("same.op", "aten.b.default"))
    site.install("other", good())
    plugins = site.load()
    with pytest.raises(PluginError, match=r"operator same\.op .* first 1\.0 and by second 1\.0"):
        plugins.registry.operator("same.op")
    with pytest.raises(PluginError, match=r"expression for same\.op on all targets"):
        plugins.registry.expression("same.op", "cpu")
    assert plugins.registry.expression("good.op", "cpu") is not None
    assert row(plugins, "first").status == "conflict"


def test_a_raising_target_is_a_row(site: Site) -> None:
    site.install(
        "tpu",
        """
        from fx2ait_core.sdk import Backend, hookimpl

        class Tpu(Backend):
            name = "tpu"
            detect = available = headers = compile_flags = link_flags = lambda *a: None

            def kernels(self):
                raise OSError("no tpu")

        @hookimpl
        def fx2ait_targets():
            return [Tpu()]
        """,
    )
    found = row(site.load(), "tpu")
    assert found.status == "failed"
    assert "target tpu: kernels() raised OSError: no tpu" in found.cause


def test_rows_are_plain_data_for_json(site: Site) -> None:
    site.install("nice-plugin", good(), entry="nice")
    data = row(site.load(), "nice-plugin").as_dict()
    assert data["name"] == "nice"
    assert data["contributions"] == {"operators": 1, "converters": 1, "expressions": 1}
