"""A process that this one starts: how it begins, what ties it to its parent, and how it ends."""
