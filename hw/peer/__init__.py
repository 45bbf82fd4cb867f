"""Peer links: a tile streams to a tile of another socket without touching either memory."""
