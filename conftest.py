"""Makes plain `pytest` load the engine's plugin and the real servers."""

pytest_plugins = ["proven.pytest_plugin", "tests.stack.fixtures", "tests.stack.scripts"]
