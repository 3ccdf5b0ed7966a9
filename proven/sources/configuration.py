"""What mkdocs.yml says, read as MkDocs reads it."""

from typing import Any

import yaml
import yaml_env_tag

FILE = "mkdocs.yml"


class _Loader(yaml.CUnsafeLoader):  # not the safe one: a site's configuration may name functions
    pass


_Loader.add_constructor("!ENV", yaml_env_tag.construct_env_tag)


def parse(text: str) -> dict[str, Any]:
    """Return the settings in the text of mkdocs.yml."""
    return yaml.load(text, _Loader)  # noqa: S506
