"""Areas of the hybrid array beside dense arrays of one lane, and what its parts take."""

from .area import Array, Found

ARRAYS = (
    Array("dense, 16 x 16", "dense"),
    Array("dense2k, 16 x 16", "dense2k"),
    Array("sparqle, 16 x 16", "sparqle"),
    Array("sparqle, chunk = 16, 16 x 16", "sparqle", values={"chunk": 16}),
    Array("sparqle, sharing = 4, 16 x 16", "sparqle", values={"sharing": 4}),
    Array("sparqle, sharing = 16, 16 x 16", "sparqle", values={"sharing": 16}),
    Array("sparqle, banks of registers, 16 x 16", "sparqle", memories="registers"),
    Array("dense, 1 x 256", "dense", "vector"),
    Array("dense2k, 1 x 256", "dense2k", "vector"),
    Array("sparqle, 1 x 256", "sparqle", "vector"),
    Array("sparqle with dequantizer, 16 x 16", "sparqle", "q4_1"),
    Array("dense with dequantizer, 16 x 16", "dense", "q4_0"),
    Array("dense2k with dequantizer, 16 x 16", "dense2k", "q4_0"),
)


def element_row(found: Found, rival: Found) -> list[object]:
    """One processing element beside the rival's; the share of decoders, memories left out."""
    element, other = (each.each("multiply_accumulate") for each in (found, rival))
    decoders = found.modules("list_decoder") / (found.area - found.memories)
    return [found.array.name, round(element), f"{element / other:.2f}", f"{decoders:.2f}"]
