"""The core around a unit: registers, buffers, sequencer, AXI."""
