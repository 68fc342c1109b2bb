"""Direct chats and groups: who is in them, in which role, by which link."""
