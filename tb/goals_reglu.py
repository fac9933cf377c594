"""What is to be shown of the neuron-skipping FFN: its parts that streams wait in."""

from ..golden.reglu.config import RegluConfig
from ..golden.reglu.unit import REGLU_FFN
from ..hw.lib.queues import Queue, QueueConfig
from ..hw.reglu.predictor import NeuronPredictor
from ..hw.reglu.requests import Requester
from ..hw.reglu.sums import OutputSums
from .goals import PROVE, Goal, proved_in_the_soak, shown
from .properties import QueueProperties
from .properties_reglu import PredictorProperties, RequesterProperties

SMALL = RegluConfig(
    lanes=1, max_features=2, max_neurons=2, max_rank=1, in_flight=2, survivors=2, mask_group=4
)
MORE = SMALL.replace(max_neurons=8)
QUEUE = QueueConfig(width=2, depth=3)

GOALS = (
    *proved_in_the_soak(
        REGLU_FFN, SMALL, RequesterProperties, depth=10, target="deep", part=Requester
    ),
    *proved_in_the_soak(
        REGLU_FFN, MORE, PredictorProperties, depth=10, target="deep", part=NeuronPredictor
    ),
    *shown(REGLU_FFN, SMALL, target="deep", part=OutputSums),
    *shown(REGLU_FFN, QUEUE, QueueProperties, target="test", part=Queue),
    *(
        Goal(REGLU_FFN, QUEUE.replace(depth=depth), PROVE, part=Queue, properties=QueueProperties)
        for depth in (1, 2, 4)
    ),
)
