"""Synthesis to cells: area, memories, critical paths."""
