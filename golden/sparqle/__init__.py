"""SPARQLe: hybrid nibbles with a precision bitmap."""
