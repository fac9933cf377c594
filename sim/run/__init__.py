"""Designs under Verilator: builds, the cocotb harness, the native harness."""
