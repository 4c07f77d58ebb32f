"""Scripted runs: each function is one story; its docstring says what must come of it."""

from tests.simulation.stories import (
    disks as disks,
)
from tests.simulation.stories import (
    fence_and_nonces as fence_and_nonces,
)
from tests.simulation.stories import (
    kill_and_delete as kill_and_delete,
)
from tests.simulation.stories import (
    losing_a_host as losing_a_host,
)
from tests.simulation.stories import (
    node_objects as node_objects,
)
from tests.simulation.stories import (
    nothing_happens as nothing_happens,
)
from tests.simulation.stories import (
    one_life as one_life,
)
from tests.simulation.stories import (
    persons_word as persons_word,
)
from tests.simulation.stories import (
    rejoin_and_lift as rejoin_and_lift,
)
from tests.simulation.stories import (
    restored_api as restored_api,
)
from tests.simulation.stories import (
    start_and_proof as start_and_proof,
)
from tests.simulation.stories import (
    strange_things as strange_things,
)
from tests.simulation.stories import (
    two_operators as two_operators,
)
from tests.simulation.stories.tell import STORIES as STORIES
