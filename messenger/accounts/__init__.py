"""People, organisations and bots: sign-in, devices, profiles, contacts, blocks, privacy."""
