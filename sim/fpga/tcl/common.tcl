# What the scripts of @@{top} share. Made by nibbleforge @@{version}; yours to change.

set top @@{top}
set ip @@{ip}
set vendor nibbleforge
set library cores
set ip_version @@{ip_version}
set bus_width @@{bus_width}  ;# bits of a word of both streams
set register_bytes @@{register_bytes}
set interfaces {@@{interfaces}}
set here [file dirname [file normalize [info script]]]
set sources [list [file join $here $top.v] [file join $here $ip.v]]
set constraints [file join $here $top.xdc]

# The part that the command line names.
proc part_of {arguments} {
  set part [lindex $arguments 0]
  if {$part eq ""} {
    error "name a part: vivado -mode batch -source SCRIPT -tclargs PART"
  }
  if {[llength [get_parts -quiet $part]] != 1} {
    error "this Vivado has no part $part: see get_parts"
  }
  return $part
}

# Nanoseconds of a clock cycle, as the constraints have them.
proc period_of {constraints} {
  set channel [open $constraints]
  set text [read $channel]
  close $channel
  if {![regexp -line {^create_clock .*-period ([0-9.]+)} $text -> period]} {
    error "$constraints has no create_clock with a period"
  }
  return $period
}

# A clock that is not met is an error, not a line in a report.
proc require_slack {setup hold where} {
  foreach {kind slack} [list setup $setup hold $hold] {
    if {$slack eq "" || $slack < 0} {
      error "the clock is not met: $kind slack $slack ns, see $where"
    }
  }
  puts "the clock is met: setup slack $setup ns, hold slack $hold ns"
}
