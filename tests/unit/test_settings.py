"""Settings: defaults, environment variables, and errors that name the variable."""

from pathlib import Path

import pytest

from fx2ait_core.errors import SettingsError
from fx2ait_core.settings import Settings, compiler_environment, usable_processors


def test_defaults_need_no_variable():
    settings = Settings.from_environment({})
    assert settings.jobs == settings.threads == usable_processors() >= 1
    assert settings.tune and not settings.keep_sources
    assert settings.disabled_plugins == settings.disabled_kernels == ()
    assert settings.cache_dir.name == "fx2ait"


def test_variables_are_read(tmp_path):
    settings = Settings.from_environment(
        {
            "FX2AIT_CACHE_DIR": str(tmp_path),
            "FX2AIT_DISABLE_PLUGINS": "conv, linear,",
            "FX2AIT_JOBS": "3",
            "FX2AIT_THREADS": "5",
            "FX2AIT_NO_TUNE": "1",
            "FX2AIT_KEEP_SOURCES": "yes",
            "CUDA_HOME": str(tmp_path),
            "CXX": "clang++",
        }
    )
    assert settings.cache_dir == settings.cuda_home == tmp_path
    assert settings.disabled_plugins == ("conv", "linear")
    assert (settings.jobs, settings.threads) == (3, 5)
    assert not settings.tune and settings.keep_sources
    assert settings.cxx == "clang++"


def test_overrides_win_and_none_means_not_given(tmp_path):
    environment = {"FX2AIT_JOBS": "3", "FX2AIT_CACHE_DIR": str(tmp_path)}
    settings = Settings.from_environment(environment, jobs=2, cache_dir=None)
    assert settings.jobs == 2
    assert settings.cache_dir == tmp_path


def test_an_override_spares_the_variable_from_being_read():
    assert Settings.from_environment({"FX2AIT_JOBS": "many"}, jobs=1).jobs == 1


def test_home_is_expanded():
    assert Settings.from_environment({"FX2AIT_CACHE_DIR": "~/x"}).cache_dir == Path.home() / "x"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FX2AIT_JOBS", "many"),
        ("FX2AIT_JOBS", "0"),
        ("FX2AIT_THREADS", "-2"),
        ("FX2AIT_THREADS", "1.5"),
        ("FX2AIT_NO_TUNE", "perhaps"),
        ("FX2AIT_KEEP_SOURCES", "2"),
        ("CUDA_HOME", "/does/not/exist"),
    ],
)
def test_bad_values_name_the_variable_and_the_value(variable, value):
    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.from_environment({variable: value})
    assert value in str(caught.value)


def test_cache_dir_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError, match="FX2AIT_CACHE_DIR"):
        Settings.from_environment({"FX2AIT_CACHE_DIR": str(file)})


def test_empty_variables_count_as_unset():
    assert Settings.from_environment({"FX2AIT_JOBS": "", "CUDA_HOME": " "}) == Settings.from_environment({})


def test_unknown_override():
    with pytest.raises(SettingsError, match=r"thread.*known: .*threads"):
        Settings.from_environment({}, thread=3)


@pytest.mark.parametrize("value", [0, True, "2", 1.0])
def test_counts_given_directly_are_checked(value):
    with pytest.raises(SettingsError, match="jobs"):
        Settings(jobs=value)


def test_compilers_speak_english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    environment = compiler_environment()
    assert environment["LC_ALL"] == "C" and environment["TMPDIR"] == "/elsewhere"
