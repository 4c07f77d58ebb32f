"""Every rule of the protocol is load-bearing: without it a story breaks the invariant it is for."""

import pytest
from tests.simulation import mutants

MUTATIONS = mutants.load()
TABLE = 31
"""Rows of the table; higher numbers are rules that were found later, in the product itself."""


def test_every_row_of_the_table_has_its_mutation() -> None:
    rows = [m.name[:2] for m in MUTATIONS if int(m.name[:2]) <= TABLE]
    assert rows == [f"{n:02}" for n in range(1, 21)]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_caught(mutation: mutants.Mutation) -> None:
    said = mutants.verdict(mutation)
    assert mutants.caught(mutation, said), f"{mutation.rule}: {said}"
