"""SPARQLe: the hybrid-precision array and its parts."""
