"""Contextual sparsity: the neuron-skipping FFN and its parts."""
