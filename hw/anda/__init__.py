"""Anda: the bit-serial array, the run-time compressor, and their parts."""
