"""`peyk demo`: virtual people over real sockets, and the proof that nothing they wrote was lost."""
