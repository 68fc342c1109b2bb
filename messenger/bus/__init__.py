"""Between the nodes: sharded publish/subscribe and hot windows in Redis."""
