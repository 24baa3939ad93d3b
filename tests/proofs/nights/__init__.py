"""The policy of lanes through simulated nights, beside a clairvoyant's."""
