"""`peyk bench`: what one message, delivery, session or login costs the server."""
