"""How fast to send, how many at once, and for how much money."""
