"""Operands from files: tensors, captures and samples."""
