"""Two runs over the same input, answer beside answer."""
