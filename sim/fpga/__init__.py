"""FPGA flows: timing, place and route, and folders from which a flow goes on."""
