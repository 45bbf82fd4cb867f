"""From units and streams to a kernel: placement, routes, sequence IDs, throttle rates."""
