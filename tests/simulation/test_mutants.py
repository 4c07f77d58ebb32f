"""Every rule of the protocol is load-bearing: without it a story breaks the invariant it is for."""

import pytest
from tests.simulation import mutants

MUTATIONS = mutants.load()


def test_every_row_of_the_table_has_its_mutation() -> None:
    numbers = [int(mutation.name[:2]) for mutation in MUTATIONS]
    assert numbers[:20] == list(range(1, 21))
    assert all(n > 31 for n in numbers[20:]), "21 to 31 are rows of what comes later"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_mutation_is_caught(mutation: mutants.Mutation) -> None:
    said = mutants.verdict(mutation)
    assert mutants.caught(mutation, said), f"{mutation.rule}: {said}"
