"""Strict YAML: what does a text say, if nothing in it may be overruled without a word?

PyYAML lets the last of two equal keys win. A budget or a rate that stands twice is a mistake that nobody would see.
"""

from typing import Any

import yaml

from securetune.errors import ConfigError


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text.

    Args:
        text: what to read.
        source: where it stands, for errors.

    Raises:
        ConfigError: it is no YAML, or a mapping in it has two equal keys.
    """
    try:
        return yaml.load(text, Loader=_OneOfEachKey)  # noqa: S506  built on the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"Expected YAML in {source}, found: {' '.join(str(error).split())}. Correct it.") from error
    except _EqualKeysError as error:
        raise ConfigError(f"Expected every key once in {source}, found {error}. Take one of them out.") from error


class _EqualKeysError(Exception):
    pass


class _OneOfEachKey(yaml.SafeLoader):
    """The safe loader, for which two equal keys are an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before merge keys (<<) are spread out: what they bring along may be put over.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, known = key.start_mark.line + 1, lines.get((key.tag, key.value))
            if known is not None:
                raise _EqualKeysError(f"{key.value!r} in line {known} and again in line {line}")
            lines[key.tag, key.value] = line
        return node
