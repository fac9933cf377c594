"""Figures of the documents that are no commands of their own."""
