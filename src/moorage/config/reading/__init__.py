"""From bytes to values: documents with positions, and what a field's type makes of them."""
