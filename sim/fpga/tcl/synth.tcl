# @@{top} alone, out of context, placed and routed; reports in the folder @@{top}_reports:
#   vivado -mode batch -source @@{top}_synth.tcl -tclargs PART

source [file join [file dirname [file normalize [info script]]] @@{top}_common.tcl]
set part [part_of $argv]
set reports [file join $here ${top}_reports]
file mkdir $reports

create_project -in_memory -part $part
read_verilog $sources
read_xdc -mode out_of_context $constraints
synth_design -top $ip -part $part -mode out_of_context
opt_design
place_design
route_design

report_utilization -hierarchical -file [file join $reports utilization.txt]
report_timing_summary -max_paths 10 -file [file join $reports timing.txt]
check_timing -verbose -file [file join $reports unconstrained.txt]
write_checkpoint -force [file join $reports $top.dcp]
require_slack [get_property SLACK [get_timing_paths -max_paths 1 -setup]] \
  [get_property SLACK [get_timing_paths -max_paths 1 -hold]] $reports
