"""HTTP beside the sockets: rpcs, publish API, health, metrics."""
