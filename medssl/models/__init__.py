"""Networks behind one small interface, and their weights."""
