"""Neuron-skipping ReGLU FFN."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data

from ..golden.reglu import SKIPPING_FFN
from ..golden.reglu_config import OPERAND_BITS, RegluConfig
from .base import Unit
from .emission import place
from .memories import address_bits, memory_of
from .reglu_predictor import NeuronCounter, NeuronPredictor
from .reglu_requests import Requester, token_layout
from .reglu_rows import PRODUCT_BITS, RowEngine
from .reglu_values import NeuronValues, factor_layout


class SkippingFFN(Unit[RegluConfig]):
    """TODO

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.reglu_config.RegluConfig`.
    """

    def __init__(self, config: RegluConfig):
        super().__init__(config, SKIPPING_FFN)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        token = _Token(config)
        requester, rows, values = Requester(config), RowEngine(config), NeuronValues(config)
        place(m, platform, "requester", requester)
        place(m, platform, "rows_engine", rows)
        place(m, platform, "values", values)
        self._take_token(m, token, rows)
        self._request(m, token, requester)
        self._rows(m, token, requester, rows)
        self._values(m, token, rows, values, requester)
        if config.predictor:
            self._predict(m, platform, token, requester, rows, values)
        else:
            self._count(m, platform, token, requester)
        self._outputs(m, token, rows)
        return m
