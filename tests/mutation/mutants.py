"""Mutants: the code with one small change, as cosmic-ray's operators make them."""

import ast
import itertools
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]


@dataclass(frozen=True)
class Mutant:
    """One change to one file.

    Attributes:
        path: the file, from the root of the repository.
        line: where the change is, counted from 1.
        column: the same within the line, counted from 0.
        operator: cosmic-ray's name of the kind of change.
        occurrence: which of the places in the file where the operator can make it.
    """

    path: str
    line: int
    column: int
    operator: str
    occurrence: int

    def mutated(self, source: str) -> str:
        """The file's text with the change."""
        changed: str | None = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        assert changed is not None, self
        return changed


def sample(paths: Sequence[Path], number: int, seed: int) -> list[Mutant]:
    """Draw mutants: each place in the code is drawn at most once, and then one change to it.

    So an expression for which there are twelve changes is no likelier than one for which there is
    one. The same seed and the same code give the same mutants.
    """
    chosen = random.Random(seed)
    places = [found for path in sorted(paths) for found in _places(path)]
    chosen.shuffle(places)
    mutants = (chosen.choice(changes) for changes in places)
    return list(itertools.islice(filter(_compiles, mutants), number))


def _compiles(mutant: Mutant) -> bool:
    """Whether it is Python: not so "not" before ":=", nor by a warning "is" beside a literal."""
    try:
        source = mutant.mutated(Path(mutant.path).read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)
            compile(source, mutant.path, "exec")
    except (SyntaxError, AttributeError):  # cosmic-ray cannot replace an exception "a.b"
        return False
    return True


def _places(path: Path) -> list[list[Mutant]]:
    source = path.read_text()
    types = list(_types(source))
    nodes = list(ast_nodes(get_ast(source)))
    changes: dict[tuple[Position, Position], list[Mutant]] = defaultdict(list)
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments():
            continue  # it has to be told the names of variables
        positions = operator().mutation_positions
        found = (place for node in nodes for place in positions(node))
        for occurrence, (start, end) in enumerate(found):
            if not any(first <= start < last for first, last in types):
                changes[start, end].append(Mutant(str(path), start[0], start[1], name, occurrence))
    return [changes[place] for place in sorted(changes)]


def _types(source: str) -> Iterator[tuple[Position, Position]]:
    """Where types stand: a change in one is an error at import, or nothing at all."""
    for node in ast.walk(ast.parse(source)):
        types = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.Assign) and _is_type_alias(node.value):
            types.append(node.value)
        for one in types:
            if isinstance(one, ast.expr):
                end = one.end_lineno or one.lineno, one.end_col_offset or one.col_offset
                yield (one.lineno, one.col_offset), end


def _is_type_alias(value: ast.expr) -> bool:
    """Whether it is a union of types: ``A | B[C] | None``."""
    return (
        isinstance(value, ast.BinOp)
        and isinstance(value.op, ast.BitOr)
        and any(isinstance(end, ast.Subscript | ast.Constant) for end in (value.left, value.right))
    )
