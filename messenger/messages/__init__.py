"""Messages: send, edit, delete, read, react, search, schedule."""
