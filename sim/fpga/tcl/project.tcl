# A project of @@{top} to look at and to go on with, in the folder @@{top}_project:
#   vivado -mode batch -source @@{top}_project.tcl -tclargs PART

source [file join [file dirname [file normalize [info script]]] @@{top}_common.tcl]
set part [part_of $argv]

create_project ${top}_project [file join $here ${top}_project] -part $part
add_files -norecurse $sources
add_files -fileset constrs_1 -norecurse $constraints
set_property top $ip [get_filesets sources_1]
update_compile_order -fileset sources_1
close_project
