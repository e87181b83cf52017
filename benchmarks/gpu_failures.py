"""A plugin of pytest that writes a failure when it occurs, and not at the end: the run may be stopped before.

python -m pytest -p benchmarks.gpu_failures
"""

import pytest


class _Failures:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the reason of a failure. With several processes, that which collects the reports calls this."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.write_line(f"\n____ {report.nodeid} ____\n{report.longreprtext}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin, not in the processes that run the tests for another one."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failures(config), "gpu-failures")
