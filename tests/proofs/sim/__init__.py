"""A virtual-clock simulation of providers, driving the rate controller that ships."""
