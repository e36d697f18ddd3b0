"""The plugin costs nothing where it isn't used: pytest loads it, and neither trionet nor Trio with it."""

from __future__ import annotations

import sys
from importlib.metadata import distribution

import pytest


def test_pytest_loads_the_plugin_by_its_entry_point(pytestconfig: pytest.Config) -> None:
    (entry_point,) = distribution("trionet").entry_points.select(group="pytest11")
    assert entry_point.value == "pytest_trionet"
    assert pytestconfig.pluginmanager.get_plugin("trionet") is sys.modules["pytest_trionet"]


@pytest.mark.slow
def test_tests_that_use_none_of_it_run_without_trionet_and_trio(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # other plugins may import anything
    pytester.makepyfile(
        """
        import sys

        def test_plain(request):
            assert request.config.pluginmanager.hasplugin("pytest_trionet")
            heavy = {"trio", "trionet", "msgspec", "httpx", "quart", "pytest_trio"}
            assert heavy.isdisjoint(sys.modules)

        def test_seed(trionet_seed):
            assert trionet_seed == 5
            assert "trionet" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "pytest_trionet", "--trionet-seed", "5")
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_pytest_started_by_a_program_that_uses_trionet_warns_of_nothing(pytester: pytest.Pytester) -> None:
    """An installed wheel lists the package beside the plugin, as a checkout doesn't; this is the list of one."""
    installed = pytester.mkdir("installed")
    files = {
        "pytest_wheel.py": "",
        "trionet/__init__.py": "",
        "wheel-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: wheel\nVersion: 1\n",
        "wheel-1.dist-info/entry_points.txt": "[pytest11]\nwheel = pytest_wheel\n",
        "wheel-1.dist-info/RECORD": "pytest_wheel.py,,\ntrionet/__init__.py,,\n",
    }
    for name, text in files.items():
        (installed / name).parent.mkdir(exist_ok=True)
        (installed / name).write_text(text, encoding="utf-8")
    pytester.makepyfile(
        test_plain="def test_plain(request): assert request.config.pluginmanager.hasplugin('wheel')\n",
        start="""
        import sys
        import pytest
        import trionet

        sys.path.append("installed")
        sys.exit(pytest.main(["-W", "error", "test_plain.py"]))
        """,
    )
    pytester.run(sys.executable, "start.py").assert_outcomes(passed=1)


def test_the_fixtures_are_listed(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--fixtures")
    result.stdout.fnmatch_lines(["trionet_seed -- *", "trionet_cluster -- *", "trionet_nodes -- *"])
    assert not any(line.startswith("_trionet") for line in result.outlines)
