"""N:M sparsity: the systolic array and its parts."""
