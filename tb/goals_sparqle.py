"""What is to be shown of the hybrid array: handshakes, and its queues."""

from ..golden.sparqle.config import SparqleConfig
from ..golden.sparqle.unit import ARRAY, UNIT
from ..hw.lib.queues import Queue, QueueConfig
from ..hw.sparqle.decoder import ListDecoder
from .goals import PROVE, Goal, proved_in_the_soak, shown
from .properties import QueueProperties

SMALL = SparqleConfig(rows=2, columns=1, k=2, group=4, beat=1, chunk=4, sharing=2, max_k=4)
QUEUE = QueueConfig(width=2, depth=3, storage="registers")

GOALS = (
    *proved_in_the_soak(ARRAY, SMALL, depth=10),
    *shown(ARRAY, SMALL, target="deep", part=ListDecoder),
    *shown(ARRAY, QUEUE, QueueProperties, target="test", part=Queue),
    *(
        Goal(ARRAY, QUEUE.replace(depth=depth), PROVE, part=Queue, properties=QueueProperties)
        for depth in (1, 2, 4)
    ),
    Goal(ARRAY, UNIT.presets["tiny"], PROVE),
    Goal(ARRAY, UNIT.presets["tiny"], PROVE, part=ListDecoder),
)
