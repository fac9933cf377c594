"""What every unit declares: configuration, ports, events, schedule, tiling, operands, errors."""
