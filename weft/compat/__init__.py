"""Names of other engines, answered with weft's own objects. It holds strings and imports no floor above."""
