# Clock of @@{top}: 100 MHz. Another period is set here alone.
create_clock -name axi_aclk -period 10.000 [get_ports axi_aclk]

# Paths through ports are timed, too: outside, registers of the same clock and no logic. How early
# a signal may change is known only where the registers outside are.
set_input_delay -max -clock axi_aclk 0.000 \
  [get_ports -filter {DIRECTION == IN && NAME != axi_aclk}]
set_output_delay -max -clock axi_aclk 0.000 [get_ports -filter {DIRECTION == OUT}]

# There is one clock, and no path that needs not be met: no false paths, no exceptions.
