"""Money: prices, tokens, estimates."""
