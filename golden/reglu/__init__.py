"""Contextual sparsity of ReGLU FFNs: neuron predictor and skipping FFN."""
