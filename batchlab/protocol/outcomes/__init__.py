"""What an answer means: facts of a reply, and the table that judges them."""
