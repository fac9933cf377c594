"""Real language models: loading, capture, perplexity, and what is searched or built on them."""
