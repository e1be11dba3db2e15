"""From blank cards to boards that the broker knows: bundles, one-time claims, and the server that honours them."""
