"""The columns of a part beside the input's own, and what they are made of."""
