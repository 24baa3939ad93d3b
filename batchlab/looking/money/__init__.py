"""What runs have cost."""
