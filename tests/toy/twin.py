"""Declares the same unit again."""

from .golden import UNITS

__all__ = ["UNITS"]
