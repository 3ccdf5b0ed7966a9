"""Makes plain `pytest` load the engine's plugin, the real servers and the real browser."""

pytest_plugins = ["proven.pytest_plugin", "tests.stack.fixtures", "tests.stack.scripts", "tests.site.fixtures"]
