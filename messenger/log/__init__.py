"""The chat log, the only truth of messages: dense seq and ev per chat."""
