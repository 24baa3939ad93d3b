"""What the page asks about the rows of a run, of any size and in any state. Pure reading."""
