"""Every rule of the protocol is load-bearing: without it a story breaks the invariant it is for."""

import pytest
from tests.simulation import mutants

MUTATIONS = mutants.load()


def test_every_row_of_the_table_has_its_mutation() -> None:
    assert [m.name[:2] for m in MUTATIONS] == [f"{n:02}" for n in range(1, 21)]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_caught(mutation: mutants.Mutation) -> None:
    said = mutants.verdict(mutation)
    assert mutants.caught(mutation, said), f"{mutation.rule}: {said}"
