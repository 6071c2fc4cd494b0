"""The YAML of a task file: what names labels is a word, as it stands there.

YAML takes 1 for a number, yes for true and 2026-11-01 for a date. The labels of a task are none of
these, whatever they look like.
"""

from __future__ import annotations

import yaml

_NAMES = (("labels",), ("teacher", "answers"), ("promise", "per_class"))
"""Where labels are named; what a mapping of labels holds directly is words, too."""
_TEXT, _MERGE, _NULL = (f"tag:yaml.org,2002:{tag}" for tag in ("str", "merge", "null"))


def parse_task(text: str) -> object:
    """Parse a task file's content.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        for path in _NAMES:
            _keep_words(_at(root, path))
        content: object = loader.construct_document(root)
        return content
    finally:
        loader.dispose()


def _at(node: yaml.Node | None, path: tuple[str, ...]) -> yaml.Node | None:
    for step in path:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in entries if key.value == step), None)
    return node


def _keep_words(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.tag != _MERGE:
                _as_word(name)
                _as_word(value, empty=True)
    elif isinstance(node, yaml.SequenceNode):
        for name in node.value:
            _as_word(name)


def _as_word(node: yaml.Node, *, empty: bool = False) -> None:
    """Take a scalar as it is written; `empty`: nothing is the empty word."""
    if not isinstance(node, yaml.ScalarNode) or (node.tag == _NULL and not empty):
        return
    node.value = "" if node.tag == _NULL else node.value
    node.tag = _TEXT
