"""The host's packet filter: the rules every network shares, and the sets that name the networks."""
