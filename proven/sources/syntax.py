"""Python's syntax trees, each made once for all who read the same file one after the other."""

import ast
from functools import lru_cache


@lru_cache(maxsize=8)  # a module of proofs is asked for twice in a row; trees are large, and none is kept
def tree(source: str) -> ast.Module:
    """Return the syntax tree of a module. Raises SyntaxError."""
    return ast.parse(source)


@lru_cache(maxsize=512)  # several ask for the same statement, one after the other
def nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return a node of a tree and all that is in it."""
    return tuple(ast.walk(node))
