"""Verification beyond a single run: regression, soak, formal, fuzz, mutation."""
