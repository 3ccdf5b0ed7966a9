"""Python's syntax trees, each made once for callers that read the same file one after another."""

import ast
from functools import lru_cache


@lru_cache(maxsize=8)  # a module of proofs is asked for twice in a row; trees are large, so few are kept
def tree(source: str) -> ast.Module:
    """Return the syntax tree of a module. Raises SyntaxError."""
    return ast.parse(source)


@lru_cache(maxsize=512)  # several callers ask for the same statement, one after another
def nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return a node of a tree and all that is in it, but for whether a name is read or written.

    ast.walk() takes twice as long: every fourth node says that.
    """
    found = [node]
    for part in found:
        for name in part._fields:
            value = getattr(part, name, None)
            if isinstance(value, list):
                found += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and name != "ctx":
                found.append(value)
    return tuple(found)
