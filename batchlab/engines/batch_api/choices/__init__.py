"""What goes where next, and by what figures."""
