"""FPGA flows: synthesis, place and route, timing, and folders from which a flow goes on."""
