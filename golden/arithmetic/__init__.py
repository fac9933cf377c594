"""Number arithmetic that several formats share: floating point and quantisers."""
