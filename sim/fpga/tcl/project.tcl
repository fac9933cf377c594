# A project of @@{top} to look at and to go on with, in the folder @@{top}_project:
#   vivado -mode batch -source @@{top}_project.tcl -tclargs PART

source [file join [file dirname [file normalize [info script]]] @@{top}_common.tcl]
set part [part_of $argv]

create_project ${top}_project [file join $here ${top}_project] -part $part
add_files -norecurse $sources
add_files -fileset constrs_1 -norecurse $constraints
# Its ports go to no pins, so it is synthesised out of context; @@{top}_pynq.tcl makes bitstreams.
set_property USED_IN {synthesis implementation out_of_context} [get_files $constraints]
set_property -name {STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS} -value {-mode out_of_context} \
  -objects [get_runs synth_1]
set_property top $ip [get_filesets sources_1]
update_compile_order -fileset sources_1
close_project
