"""N:M structured-sparse INT4 weights."""
