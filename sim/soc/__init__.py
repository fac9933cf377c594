"""Driver of a core, and how it reaches one: simulation, UART, PYNQ."""
