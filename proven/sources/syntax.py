"""Python's syntax trees, each made once for callers that read the same file one after another."""

import ast
from functools import lru_cache


@lru_cache(maxsize=8)  # a module of proofs is asked for twice in a row; trees are large, so few are kept
def tree(source: str) -> ast.Module:
    """Return the syntax tree of a module. Raises SyntaxError."""
    return ast.parse(source)


@lru_cache(maxsize=512)  # several callers ask for the same statement, one after another
def nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return a node of a tree and all that is in it."""
    return tuple(ast.walk(node))
