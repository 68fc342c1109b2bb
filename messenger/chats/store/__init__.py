"""SQL of chats: `chats` and `links` by chat, `mine` by account, `changes` what alters members."""
