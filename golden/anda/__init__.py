"""Anda: grouped shared-exponent activations in bit planes."""
