"""Which rows are answered how (live, flex, batch), to be there in time for the least money. Pure."""
