# @@{top} as an IP for block designs, in the folder @@{top}_ip:
#   vivado -mode batch -source @@{top}_package.tcl -tclargs PART

source [file join [file dirname [file normalize [info script]]] @@{top}_common.tcl]
set part [part_of $argv]
set repository [file join $here ${top}_ip]

create_project -force ${top}_packaging [file join $here ${top}_packaging] -part $part
add_files -norecurse $sources
add_files -fileset constrs_1 -norecurse $constraints
# In a larger design its clock is constrained by whoever makes it.
set_property USED_IN {synthesis implementation out_of_context} [get_files $constraints]
set_property top $ip [get_filesets sources_1]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $repository -vendor $vendor -library $library \
  -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $top $core
set_property version $ip_version $core
set_property display_name $top $core
set_property description {@@{summary}} $core

# Interfaces come from the attributes of @@{ip}.v.
foreach interface $interfaces {
  if {[llength [ipx::get_bus_interfaces $interface -of_objects $core]] != 1} {
    error "Vivado did not infer the interface $interface"
  }
}
if {[llength [ipx::get_memory_maps s_axi -of_objects $core]] == 0} {
  set map [ipx::add_memory_map s_axi $core]
  set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]
  set_property range $register_bytes [ipx::add_address_block registers $map]
}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::save_core $core
close_project
