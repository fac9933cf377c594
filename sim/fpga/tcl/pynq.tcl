# Block design of a Zynq with @@{top} and a DMA, in the folder @@{top}_pynq, which
# is made anew each time; bitstream and .hwh for PYNQ, in the folder @@{top}_overlay:
#   vivado -mode batch -source @@{top}_pynq.tcl -tclargs PART ?BOARD_PART?

source [file join [file dirname [file normalize [info script]]] @@{top}_package.tcl]
set board [lindex $argv 1]
set design ${top}_design
set megahertz [expr {1000.0 / [period_of $constraints]}]
set family [get_property FAMILY [get_parts $part]]
if {![string match zynq* $family]} {
  error "$part has no processing system that PYNQ runs on: name a Zynq"
}

create_project -force ${top}_pynq [file join $here ${top}_pynq] -part $part
if {$board ne ""} {
  set_property board_part $board [current_project]
}
set_property ip_repo_paths $repository [current_project]
update_ip_catalog
create_bd_design $design

# The processing system; what its pins are called.
set preset [expr {$board ne ""}]
switch -glob $family {
  zynquplus* {
    set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps_0]
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
      -config [list apply_board_preset $preset] $ps
    set_property -dict [list \
      CONFIG.PSU__USE__M_AXI_GP0 1 \
      CONFIG.PSU__USE__M_AXI_GP1 0 \
      CONFIG.PSU__USE__M_AXI_GP2 0 \
      CONFIG.PSU__USE__S_AXI_GP2 1 \
      CONFIG.PSU__USE__IRQ0 1 \
      CONFIG.PSU__FPGA_PL0_ENABLE 1 \
      CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $megahertz] $ps
    array set pin {
      clock pl_clk0 reset pl_resetn0 irq pl_ps_irq0
      master M_AXI_HPM0_FPD master_clock maxihpm0_fpd_aclk
      slave S_AXI_HP0_FPD slave_clock saxihp0_fpd_aclk
    }
  }
  zynq {
    set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps_0]
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
      -config [list make_external {FIXED_IO, DDR} apply_board_preset $preset \
                 Master Disable Slave Disable] $ps
    set_property -dict [list \
      CONFIG.PCW_USE_M_AXI_GP0 1 \
      CONFIG.PCW_USE_S_AXI_HP0 1 \
      CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
      CONFIG.PCW_IRQ_F2P_INTR 1 \
      CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $megahertz] $ps
    array set pin {
      clock FCLK_CLK0 reset FCLK_RESET0_N irq IRQ_F2P
      master M_AXI_GP0 master_clock M_AXI_GP0_ACLK
      slave S_AXI_HP0 slave_clock S_AXI_HP0_ACLK
    }
  }
}

# The core, the DMA that feeds it, and their ways to registers and to memory.
set masters [list axi_dma_0/M_AXI_MM2S axi_dma_0/M_AXI_S2MM]
if {"m_axi" in $interfaces} {
  lappend masters core_0/m_axi
}
create_bd_cell -type ip -vlnv $vendor:$library:$top core_0
set dma [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma axi_dma_0]
set_property -dict [list \
  CONFIG.c_include_sg 0 \
  CONFIG.c_sg_include_stscntrl_strm 0 \
  CONFIG.c_sg_length_width 26 \
  CONFIG.c_m_axi_mm2s_data_width $bus_width \
  CONFIG.c_m_axis_mm2s_tdata_width $bus_width \
  CONFIG.c_m_axi_s2mm_data_width $bus_width] $dma
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset_0
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control_0]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 2] $control
set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory_0]
set_property -dict [list CONFIG.NUM_SI [llength $masters] CONFIG.NUM_MI 1] $memory

proc join_interfaces {one other} {
  connect_bd_intf_net [get_bd_intf_pins $one] [get_bd_intf_pins $other]
}

proc join_pins {source sinks} {
  foreach sink $sinks {
    connect_bd_net [get_bd_pins $source] [get_bd_pins $sink]
  }
}

join_interfaces ps_0/$pin(master) control_0/S00_AXI
join_interfaces control_0/M00_AXI core_0/s_axi
join_interfaces control_0/M01_AXI axi_dma_0/S_AXI_LITE
join_interfaces axi_dma_0/M_AXIS_MM2S core_0/s_axis
join_interfaces core_0/m_axis axi_dma_0/S_AXIS_S2MM
set number 0
foreach master $masters {
  join_interfaces $master memory_0/[format S%02d_AXI $number]
  incr number
}
join_interfaces memory_0/M00_AXI ps_0/$pin(slave)

join_pins ps_0/$pin(clock) [list \
  ps_0/$pin(master_clock) ps_0/$pin(slave_clock) reset_0/slowest_sync_clk \
  control_0/aclk memory_0/aclk core_0/axi_aclk \
  axi_dma_0/s_axi_lite_aclk axi_dma_0/m_axi_mm2s_aclk axi_dma_0/m_axi_s2mm_aclk]
join_pins ps_0/$pin(reset) reset_0/ext_reset_in
join_pins reset_0/peripheral_aresetn [list \
  control_0/aresetn memory_0/aresetn core_0/axi_aresetn axi_dma_0/axi_resetn]
join_pins core_0/irq ps_0/$pin(irq)
assign_bd_address
validate_bd_design
save_bd_design

# Bitstream, and beside it, under the same name, what PYNQ reads of the design.
set file [get_files $design.bd]
generate_target all $file
add_files -norecurse [make_wrapper -files $file -top]
set_property top ${design}_wrapper [get_filesets sources_1]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream
wait_on_run impl_1
set run [get_runs impl_1]
if {[get_property PROGRESS $run] ne "100%"} {
  error "no bitstream: [get_property STATUS $run], see [get_property DIRECTORY $run]"
}
set folder [get_property DIRECTORY [current_project]]
set found [glob -nocomplain -directory $folder \
             *.gen/sources_1/bd/$design/hw_handoff/$design.hwh \
             *.srcs/sources_1/bd/$design/hw_handoff/$design.hwh]
if {[llength $found] == 0} {
  error "Vivado wrote no $design.hwh below $folder"
}
set overlay [file join $here ${top}_overlay]
file mkdir $overlay
file copy -force [file join [get_property DIRECTORY $run] ${design}_wrapper.bit] \
  [file join $overlay $top.bit]
file copy -force [lindex $found 0] [file join $overlay $top.hwh]
require_slack [get_property STATS.WNS $run] [get_property STATS.WHS $run] \
  [get_property DIRECTORY $run]
close_project
